from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import ValidationError
from synthesis_small import CHINESE, ENGLISH

from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.recipes import BY_RULE, RecipeConfig
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import SynthesisConfig
from openseek.config.teachers import TeacherConfig
from openseek.config.verification import VerificationConfig
from openseek.corpus.shards import make_document, write_documents
from openseek.errors import DataError
from openseek.synthesis import RECIPES, step
from openseek.synthesis.rows import SourceDocument, source_of
from openseek.synthesis.stages import levels_of, load_sources, stages
from openseek.synthesis.step import synthesise

THOUGHT = "1. Salt water is heavy.\n2. Inflows are rare.\n3. Nothing mixes the layers.\n"


def answer(system: str, user: str) -> str:
    """Answer the prompts of all recipes, differently for different prompts."""
    mark = hashlib.sha256(user.encode()).hexdigest()[:6]
    said = f"Salt water number {mark} is heavy, and so it stays below the fresh water."
    if '"steps"' in user:
        return json.dumps({"steps": ["Salt sinks.", "Inflows are rare.", said], "conclusion": said})
    shapes: dict[str, Any] = {
        '"segments"': {"segments": [
            {"start": p[:20], "end": p[-20:]} for p in user.split("<<<\n")[-1][:-4].split("\n\n")
        ]},
        '"long_cot"': {"field": "other", "topics": ["seas", "Seas."], "key_points": ["salt"],
                       "simple_qa": "Baltic" in user, "long_cot": True},
        '"key_points"': {"topics": ["Rates", f"topic {mark[0]}"], "key_points": ["add rates"]},
        '"clear"': {"clear": 5, "solvable": 5, "useful": 5},
        '"problem"': {"problem": f"What is the sum of the digits of {int(mark, 16)}?"},
        '"agree"': {"agree": True},
        '"thought"': {"thought": said},
        '"pairs"': {"pairs": [{"question": f"How heavy is water {mark}?", "answer": said}]},
        '"query"': {"query": f"Why does salt water {mark} stay below fresh water?"},
    }  # fmt: skip
    for shape, value in shapes.items():
        if shape in user:
            return json.dumps(value)
    first_turn = "(nothing yet)" in user or "（尚无）" in user
    if "<|begin_search_query|>" in user and first_turn:
        wanted = f"salinity 长江 {mark} of rivers"
        return f"I look it up.\n<|begin_search_query|>{wanted}<|end_search_query|>"
    reasons = any(word in user for word in ("Go on", "beginning", "推导", "推理"))
    return f"{THOUGHT}Answer: {said if reasons else 7}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        system, user = (m["content"] for m in body["messages"][:2])
        server: Any = self.server
        with server.lock:
            server.seen.append(user)
            dead = server.left == 0
            server.left -= 1
        message = {"role": "assistant", "content": answer(system, user)}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        data = json.dumps({"choices": [{"message": message}], "usage": usage}).encode()
        self.send_response(401 if dead else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[Any]:
    running: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.lock, running.seen, running.left = threading.Lock(), [], -1
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def teacher(server: Any, concurrency: int = 4) -> TeacherConfig:
    url = f"http://127.0.0.1:{server.server_port}/v1"
    return TeacherConfig(
        kind="openai",
        model="tiny",
        base_url=url,
        max_tries=1,
        concurrency=concurrency,
        cache="none",
    )


def pool(workers: int) -> Callable[..., list[Any]]:
    def run(fn: Any, shards: Any, *, args: Any = (), **_: Any) -> list[Any]:
        with ThreadPoolExecutor(workers) as threads:
            return list(threads.map(lambda shard: fn(shard, *args), shards))

    return run


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands in for Ray; what is tested is what pieces are made and given."""
    monkeypatch.setattr(step, "map_shards", pool(1))


@pytest.fixture
def files(tmp_path: Path) -> FolderFiles:
    rows = []
    for n in range(8):
        text, lang = (ENGLISH, "en") if n % 2 else (CHINESE[:60] + "\n\n" + CHINESE, "zh-Hans")
        rows.append(
            make_document(
                text.replace("water", f"water{n}").replace("长江", f"长江{n}"), source="lakes",
                category="foundation", lang=lang, license="CC-BY-4.0", origin=str(n),
            )
        )  # fmt: skip
    (tmp_path / "in").mkdir()
    for i in range(2):
        write_documents(tmp_path / f"in/lakes-{i:05d}.parquet", rows[i::2])
    return FolderFiles(tmp_path / "in")


def recipe(name: str, **options: Any) -> RecipeConfig:
    fields = {"min_chars": 100, "max_documents": 6, "languages": ("en",)} | options
    return RecipeConfig(name=name, **fields)


def context(out: Path, files: FolderFiles, *recipes: RecipeConfig, **options: Any) -> Any:
    # The canned answers are English, whatever is asked.
    checks = VerificationConfig(language=0)
    config = SynthesisConfig(recipes=recipes, shard_documents=3, verification=checks, **options)
    inputs = {"documents": files}
    return StepContext(config, inputs, FolderOutput(out), RuntimeConfig(workers=1), seed=5)


def answers(out: Path) -> list[tuple[str, Any]]:
    """All answered pieces in order, without what depends on the machine."""
    return [
        (path.name, [json.loads(line) for line in path.read_text().splitlines()])
        for path in sorted(out.rglob("answers-*.jsonl"))
    ]


CHAIN = tuple(recipe(n) for n in ("long_cot_backward", "long_cot_forward", "long_cot_rag"))


class TestStages:
    def test_rows_go_on_to_the_recipes_that_need_them(
        self, tmp_path: Path, files: FolderFiles, server: Any
    ) -> None:
        metrics = synthesise(context(tmp_path / "out", files, *CHAIN, teacher=teacher(server)))
        found = dict(answers(tmp_path / "out"))
        assert len(found) == 6
        earlier = {
            o["document"]["id"]: o["rows"][0][0]
            for lines in list(found.values())[:2] for o in lines if not o["rows"][0][1]
        }  # fmt: skip
        assert earlier
        for lines in list(found.values())[2:]:
            for outcome in lines:
                source = source_of(outcome["document"])
                assert source.row is not None
                assert source.row.query == earlier[source.id]["query"]
                assert source.text
        forward = [o for lines in list(found.values())[2:4] for o in lines]
        assert all(
            o["rows"][0][0]["query"] == earlier[o["document"]["id"]]["query"] for o in forward
        )
        rag = [o["rows"][0][0] for lines in list(found.values())[4:] for o in lines if o["rows"]]
        assert rag
        assert all(r["extra"]["searches"][0]["passages"] for r in rag)
        assert metrics["recipes"]["long_cot_forward"]["documents"] == len(earlier)

    @pytest.mark.parametrize("workers", [2, 5])
    def test_workers_change_nothing(
        self, tmp_path: Path, files: FolderFiles, server: Any, workers: int,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        tags = (recipe("knowledge_tags"), recipe("key_points", fields=("math",)))
        for name, n in (("one", 1), ("many", workers)):
            monkeypatch.setattr(step, "map_shards", pool(n))
            given = context(
                tmp_path / name, files, *CHAIN, *tags, teacher=teacher(server, concurrency=n)
            )
            synthesise(given)
        assert answers(tmp_path / "one") == answers(tmp_path / "many")
        assert len(answers(tmp_path / "one")) == 10

    def test_a_failed_step_asks_nothing_of_finished_pieces_again(
        self, tmp_path: Path, files: FolderFiles, server: Any
    ) -> None:
        whole = context(tmp_path / "whole", files, *CHAIN, teacher=teacher(server, 1))
        synthesise(whole)
        count = len(server.seen)
        for share in (0.3, 0.3):
            server.left = int(count * share)
            with pytest.raises(Exception, match="401"):
                synthesise(context(tmp_path / "out", files, *CHAIN, teacher=teacher(server, 1)))
        server.left = -1
        synthesise(context(tmp_path / "out", files, *CHAIN, teacher=teacher(server, 1)))
        assert answers(tmp_path / "out") == answers(tmp_path / "whole")

    def test_tags_become_knowledge_and_problems(
        self, tmp_path: Path, files: FolderFiles, server: Any
    ) -> None:
        recipes = (
            recipe("knowledge_tags", max_documents=20), recipe("key_points", fields=("math",)),
            recipe("rl_math", max_documents=4),
        )  # fmt: skip
        metrics = synthesise(context(tmp_path / "out", files, *recipes, teacher=teacher(server)))
        groups = json.loads((tmp_path / "out/knowledge.json").read_text())["groups"]
        math = next(g for g in groups if (g["field"], g["lang"]) == ("math", "en"))
        assert math["topics"][0] == "rates"
        assert metrics["recipes"]["key_points"]["rows"] == 6
        assert metrics["recipes"]["rl_math"]["rows"] == 4
        row = answers(tmp_path / "out")[-1][1][0]["rows"][0][0]
        assert (row["kind"], row["final"]) == ("rl", "7")
        again = recipe("key_points", fields=("math",))
        known = {"path": str(tmp_path / "out/knowledge.json")}
        given = context(tmp_path / "b", files, again, teacher=teacher(server), knowledge=known)
        synthesise(given)
        assert not (tmp_path / "b/knowledge.json").exists()

    def test_annotated_documents_are_selected(
        self, tmp_path: Path, files: FolderFiles, server: Any
    ) -> None:
        chosen = recipe("simple_qa", suits="simple_qa", topics=("seas",))
        recipes = (recipe("annotate", max_documents=8), chosen)
        synthesise(context(tmp_path / "out", files, *recipes, teacher=teacher(server)))
        lines = (tmp_path / "out/annotations.jsonl").read_text().splitlines()
        assert len(lines) == 8
        assert json.loads(lines[0])["topics"] == ["seas"]
        pairs = [o for name, part in answers(tmp_path / "out")[3:] for o in part]
        assert {o["document"]["lang"] for o in pairs} == {"en"}
        assert len(pairs) == 4
        given = {"annotations": str(tmp_path / "out/annotations.jsonl"), "teacher": teacher(server)}
        synthesise(context(tmp_path / "b", files, chosen, **given))
        assert [o["document"]["id"] for _, part in answers(tmp_path / "b") for o in part] == [
            o["document"]["id"] for o in pairs
        ]

    def test_published_rows_are_gone_on_from(
        self, tmp_path: Path, files: FolderFiles, server: Any
    ) -> None:
        synthesise(context(tmp_path / "a", files, CHAIN[0], teacher=teacher(server)))
        later = recipe("long_cot_forward", rows_from=str(tmp_path / "a"), max_documents=3)
        synthesise(context(tmp_path / "b", files, later, teacher=teacher(server)))
        outcomes = [o for _, part in answers(tmp_path / "b") for o in part]
        assert len(outcomes) == 3
        assert all(o["document"]["row"]["query"] and not o["failure"] for o in outcomes)


class TestOrder:
    ALL: ClassVar = tuple(RECIPES)

    def test_every_recipe_has_a_place(self) -> None:
        local = TeacherConfig(kind="openai", model="m", base_url="http://127.0.0.1:1/v1")
        config = SynthesisConfig(recipes=tuple(recipe(n) for n in self.ALL), teacher=local)
        levels = levels_of(config)
        assert set(levels) == set(self.ALL)
        assert {n for n, level in levels.items() if level} == {
            "long_cot_forward", "long_cot_rag", "key_points", "rl_math", "rl_code", "rl_commonsense"
        }  # fmt: skip
        assert all(RECIPES[n].about and RECIPES[n].version >= 1 for n in self.ALL)

    def test_the_command_lists_them_all(self) -> None:
        from openseek.cli.layers import synth

        listed = [line.split()[0] for line in (synth.__doc__ or "").split("\n") if line.strip()]
        assert set(self.ALL) <= set(listed)

    def test_the_default_is_one_stage(self) -> None:
        assert set(levels_of(SynthesisConfig()).values()) == {0}

    def test_a_recipe_whose_rows_are_missing_is_refused(self) -> None:
        local = TeacherConfig(kind="openai", model="m", base_url="http://127.0.0.1:1/v1")
        for names in (("long_cot_forward",), ("long_cot_rag", "long_cot_backward")):
            with pytest.raises(ValidationError, match="list long_cot_backward first"):
                SynthesisConfig(recipes=tuple(recipe(n) for n in names), teacher=local)
        with pytest.raises(ValidationError, match="annotations"):
            SynthesisConfig(recipes=(recipe("simple_qa", suits="long_cot"),), teacher=local)

    def test_the_extractive_teacher_says_what_it_can_do(self) -> None:
        with pytest.raises(ValidationError, match="rephrase, only simple_qa and long_cot_backward"):
            SynthesisConfig(recipes=(recipe("rephrase"),))
        assert set(BY_RULE) == {r.name for r in SynthesisConfig().recipes}

    def test_a_field_without_topics_is_named(self, tmp_path: Path, files: FolderFiles) -> None:
        seeds = tmp_path / "seeds.jsonl"
        row = {"id": "1", "field": "math", "lang": "en", "problem": "p", "topics": ["t"]}
        seeds.write_text(json.dumps(row))
        local = TeacherConfig(kind="openai", model="m", base_url="http://127.0.0.1:1/v1")
        knowledge = {"seeds": str(seeds)}
        ctx = context(
            tmp_path / "out", files, recipe("rl_code"), teacher=local, knowledge=knowledge
        )
        with pytest.raises(DataError, match="code"):
            list(stages(ctx, []))
        one = recipe("rl_math", max_documents=2)
        ctx = context(tmp_path / "b", files, one, teacher=local, knowledge=knowledge)
        (pieces,) = list(stages(ctx, []))
        (piece,) = pieces
        drawn: list[SourceDocument] = load_sources(piece, files, ctx.out, ctx.config, ctx.seed)
        assert [d.id for d in drawn] == ["sample-math-en-000000", "sample-math-en-000001"]
