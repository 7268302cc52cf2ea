"""Artifacts: the one mechanism for caching and resume.

`files` says what steps read and write, `keys` what identifies them, `store` where they lie,
`attempt` how one is made, `manifest` how it is read, `lease` who works on it, `gc` what may go;
`folder` stands in for a store when a layer is used alone.
"""

from openseek.artifacts.context import Progress, StepContext, no_progress
from openseek.artifacts.files import FileRecord, FileSet, Output, ShardRecord, names, sha256_file
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.artifacts.manifest import ArtifactFiles, Manifest, materialise
from openseek.artifacts.store import Spec, Store, store_root

__all__ = [
    "ArtifactFiles",
    "FileRecord",
    "FileSet",
    "FolderFiles",
    "FolderOutput",
    "Manifest",
    "Output",
    "Progress",
    "ShardRecord",
    "Spec",
    "StepContext",
    "Store",
    "materialise",
    "names",
    "no_progress",
    "sha256_file",
    "store_root",
]
