from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthesis_small import ENGLISH, KEY, Endpoint, source
from test_synthesis_step import context, digests, documents

from openseek.config.synthesis import RecipeConfig, SynthesisConfig
from openseek.config.teachers import TeacherConfig
from openseek.errors import ConfigError
from openseek.synthesis.budget import Budget, BudgetError
from openseek.synthesis.generate import generate
from openseek.synthesis.prices import price_of
from openseek.synthesis.session import Session
from openseek.synthesis.step import synthesise
from openseek.synthesis.teacher import Reply

QA = RecipeConfig(name="simple_qa", chars_per_item=100)
CHAIN = RecipeConfig(name="long_cot_backward", categories=("foundation",), max_items=5)
PRICES = {"price_in": 10.0, "price_out": 100.0}
ONE_USD = (100 * 10 + 20 * 100) / 1e6  # what the server's every answer costs


def ask(endpoint: Endpoint, cache: Path, n: int = 6, **teacher: Any) -> tuple[list[Any], Any]:
    config = SynthesisConfig(teacher=endpoint.teacher(**teacher))
    given = [source(f"{ENGLISH} {i}", id=f"d{i}") for i in range(n)]
    with Session(config.teacher, str(cache)) as session:
        outcomes = generate(given, QA, config)
        return outcomes, session.teacher.ledger().get("simple_qa", {})


class TestCache:
    def test_what_was_answered_is_not_asked_again(self, endpoint: Endpoint, tmp_path: Path) -> None:
        first, paid = ask(endpoint, tmp_path, **PRICES)
        again, reused = ask(endpoint, tmp_path, **PRICES)
        assert endpoint.server.served["ok"] == 6
        assert again == first
        assert (paid["sent"], reused["reused"]) == (6, 6)
        assert paid["paid_usd"] == reused["reused_usd"] == pytest.approx(6 * ONE_USD)
        assert "paid_usd" not in reused

    @pytest.mark.parametrize("fault", ["refusal", "400"])
    def test_a_permanent_refusal_is_kept(
        self, endpoint: Endpoint, tmp_path: Path, fault: str
    ) -> None:
        endpoint.server.always = fault
        first, _ = ask(endpoint, tmp_path)
        endpoint.server.always = ""
        again, ledger = ask(endpoint, tmp_path)
        assert endpoint.server.served == {fault: 6}
        assert {o.failure for o in again} == {o.failure for o in first} - {""}
        assert ledger["reused"] == 6
        anew, _ = ask(endpoint, tmp_path, retry_refused=True)
        assert {o.failure for o in anew} == {""}
        assert ask(endpoint, tmp_path)[0] == anew

    @pytest.mark.parametrize("fault", ["429", "500", "truncated", "reset", "cut"])
    def test_a_fault_that_passes_is_never_kept(
        self, endpoint: Endpoint, tmp_path: Path, fault: str
    ) -> None:
        endpoint.server.faults = [fault]
        ask(endpoint, tmp_path, n=1)
        outcomes, ledger = ask(endpoint, tmp_path, n=1)
        assert (outcomes[0].failure, ledger["reused"]) == ("", 1)
        assert endpoint.server.served == {fault: 1, "ok": 1}

    def test_one_request_of_two_documents_is_sent_once(
        self, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        config = SynthesisConfig(teacher=endpoint.teacher())
        with Session(config.teacher, str(tmp_path)):
            outcomes = generate([source(ENGLISH, id=i) for i in "ab"], QA, config)
        assert [len(o.rows) for o in outcomes] == [2, 2]
        assert endpoint.server.served["ok"] == 1

    def test_without_a_cache_all_is_asked_anew(self, endpoint: Endpoint, tmp_path: Path) -> None:
        teacher = endpoint.teacher(cache="none")
        config = SynthesisConfig(teacher=teacher, recipes=(QA,), shard_documents=4)
        files = documents(tmp_path / "in")
        for out in "ab":
            synthesise(context(config, tmp_path / out, documents=files))
        assert endpoint.server.served["ok"] == 36
        assert not (tmp_path / "_requests").exists()

    def test_other_settings_of_the_step_pay_nothing_again(
        self, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        files = documents(tmp_path / "in")
        config = SynthesisConfig(teacher=endpoint.teacher(), recipes=(QA,), shard_documents=4)
        one = synthesise(context(config, tmp_path / "a", documents=files))
        config = config.model_copy(update={"shard_documents": 7, "inherit_tier": True})
        two = synthesise(context(config, tmp_path / "b", documents=files))
        assert endpoint.server.served["ok"] == one["requests"] == two["requests"] == 18
        assert two["ledger"]["simple_qa"]["reused"] == 18
        segments = list((tmp_path / "_requests/segments").iterdir())
        assert len(segments) == 1


class TestBudget:
    def test_a_step_stops_below_the_limit_and_goes_on_with_a_higher_one(
        self, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        files = documents(tmp_path / "in")

        def go(limit: float) -> dict[str, Any]:
            teacher = endpoint.teacher(max_cost_usd=limit, max_tokens=20, **PRICES)
            config = SynthesisConfig(teacher=teacher, recipes=(QA,), shard_documents=4)
            return synthesise(context(config, tmp_path / "out", documents=files))

        with pytest.raises(BudgetError, match="Raise max_cost_usd and run it again"):
            go(10.5 * ONE_USD)
        first = endpoint.server.served["ok"]
        assert 0 < first <= 10
        with pytest.raises(BudgetError):
            go(10.5 * ONE_USD)  # what is answered counts again, though it is not paid again
        assert first <= endpoint.server.served["ok"] <= 10
        metrics = go(1000 * ONE_USD)
        assert endpoint.server.served["ok"] == metrics["requests"] == 18
        assert metrics["cost_usd"] == pytest.approx(18 * ONE_USD)

    def test_the_limit_holds_whatever_is_in_flight(
        self, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        limit = 0.4
        with pytest.raises(BudgetError):
            ask(endpoint, tmp_path, n=300, concurrency=32, max_cost_usd=limit, **PRICES)
        spent = endpoint.server.served["ok"] * ONE_USD
        assert 0 < spent <= limit

    def test_a_model_without_a_price_cannot_have_a_limit(self) -> None:
        teacher = TeacherConfig(kind="openai", model="who", base_url="https://x.io/v1")
        with pytest.raises(ConfigError, match="price_in"):
            Budget(teacher.model_copy(update={"max_cost_usd": 1.0}))


class TestPrices:
    def teacher(self, **given: Any) -> TeacherConfig:
        fields = {"kind": "openai", "model": "gpt-4o-mini-2024", "base_url": "https://x.io/v1"}
        return TeacherConfig(**fields | given)

    def test_the_section_goes_before_your_table_before_the_shipped_one(
        self, tmp_path: Path
    ) -> None:
        shipped = price_of(self.teacher())
        assert (shipped.known, shipped.prompt > 0, shipped.cached < shipped.prompt) == (True,) * 3
        path = tmp_path / "prices.yaml"
        path.write_text("models: [{model: 'GPT-4o*', prompt: 7, completion: 8}]")
        own = price_of(self.teacher(prices=str(path)))
        assert (own.prompt, own.completion, own.cached) == (7, 8, 7)
        assert price_of(self.teacher(prices=str(path), price_in=1.0)).prompt == 1

    def test_a_local_model_is_free_and_an_unknown_one_is_said_to_be(self) -> None:
        assert price_of(self.teacher(base_url="http://127.0.0.1:8000/v1")).known
        assert not price_of(self.teacher(model="who")).known

    def test_cached_tokens_cost_their_own_price(self) -> None:
        price = price_of(self.teacher(price_in=10.0, price_out=1.0, price_cached=1.0))
        assert price.usd(1_000_000, 0, 400_000) == pytest.approx(6.4)
        assert Budget(self.teacher()).cost(Reply("", 0, 0)) == 0

    def test_a_table_that_is_none_is_a_clear_error(self, tmp_path: Path) -> None:
        (tmp_path / "p.yaml").write_text("gpt: 3")
        with pytest.raises(ConfigError, match="models:"):
            price_of(self.teacher(prices=str(tmp_path / "p.yaml")))


SCRIPT = """
import sys, yaml
from pathlib import Path
from openseek.artifacts.context import StepContext
from openseek.artifacts.folder import FolderFiles, FolderOutput
from openseek.config.runtime import RuntimeConfig
from openseek.config.synthesis import SynthesisConfig
from openseek.synthesis.step import synthesise
folder = Path(sys.argv[1])
config = SynthesisConfig(**yaml.safe_load((folder / "config.yaml").read_text()))
inputs = {"documents": FolderFiles(folder / "in")}
out = FolderOutput(folder / sys.argv[2])
print("started", flush=True)
synthesise(StepContext(config, inputs, out, RuntimeConfig(workers=1), seed=5))
print("ended", flush=True)
"""


@pytest.mark.slow
def test_ten_kills_send_no_answered_request_again(endpoint: Endpoint, tmp_path: Path) -> None:
    """SIGKILL a whole step at random moments; the server counts what it answered, and to whom."""
    documents(tmp_path / "in")
    # One request at a time: an answer that was sent but not yet read may be asked for again.
    config = SynthesisConfig(
        teacher=endpoint.teacher(concurrency=1), recipes=(QA, CHAIN), shard_documents=3
    )
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    server, dice = endpoint.server, random.Random(3)

    def start(out: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), out]
        env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)

    whole = start("whole/out")
    assert whole.stdout is not None
    assert whole.stdout.read().endswith("ended\n")
    total = sum(server.answered.values())
    assert total > 50
    server.answered.clear()

    def reached(n: int) -> bool:
        return sum(server.answered.values()) >= n

    for kill in range(10):
        upto = sum(server.answered.values()) + dice.randint(0, total // 11)
        process = start("killed/out")
        assert process.stdout is not None
        process.stdout.readline()
        with server.progress:
            assert server.progress.wait_for(partial(reached, upto), 60)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"kill {kill} came too late"
    last = start("killed/out")
    assert last.communicate()[0].endswith("ended\n")
    again = {body: n for body, n in server.answered.items() if n > 1}
    assert sum(again.values()) - len(again) <= 10  # at most the one in flight, of each kill
    assert len(server.answered) == total
    assert digests(tmp_path / "killed/out") == digests(tmp_path / "whole/out")
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and KEY.encode() in p.read_bytes()]
