"""Bundles from strangers: what is broken, forged or meant to harm is refused in words, soon."""

import hashlib
import json
import os
import struct
import time

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from space.errors import UserError
from space.spec import AdapterSpec
from tests.trainers.hostile import CONFIG_CHANGES, HEADER_CHANGES, Forged, changed_bytes
from tests.trainers.tiny import adapter, fill_randomly
from trainers import bundle as bundle_module
from trainers.bundle import BundleConfig, LoadedBundle, load
from trainers.data import Columns
from trainers.model import build
from trainers.weights import read_tensors

SOON_S = 5.0
QUICK = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(QUICK, max_examples=20_000)


@pytest.fixture(scope="module")
def original(tmp_path_factory, tiny_backbones):
    """A small bundle that loads; no test changes it."""
    backbone = tiny_backbones["bert"]
    spec = AdapterSpec(
        depth=2, adapters=(adapter(0, "query", "lora", 1), adapter(1, "ffn", "parallel", 1))
    )
    config = BundleConfig(
        task="text-classification",
        backbone=backbone.name,
        backbone_fingerprint=backbone.fingerprint,
        labels=("a", "b"),
        columns=Columns(),
        scale=None,
        max_length=32,
        spec=spec,
        exit_threshold=None,
        provenance={"study": "s", "trial": 3, "seed": 0},
    )
    model = fill_randomly(build(backbone, spec, 2, seed=0))
    return Forged.written(tmp_path_factory.mktemp("original") / "b", config, model)


@pytest.fixture
def forged(original, tmp_path, tiny_backbones, monkeypatch):
    """A copy of it, to be forged; its backbone is not loaded each time."""

    def known(name, task):
        return tiny_backbones["bert"]

    monkeypatch.setattr(bundle_module, "load_backbone", known)
    return original.copied(tmp_path / "b")


def refused(forged, match):
    """Expect that the bundle is refused, with these words, and soon."""
    began = time.process_time()  # not the clock's, which runs on where the machine is busy
    with pytest.raises(UserError, match=match):
        load(forged.folder)
    assert time.process_time() - began < SOON_S


def loads_or_is_refused(forged):
    try:
        assert isinstance(load(forged.folder), LoadedBundle)
    except UserError as error:
        assert all(len(problem) > 10 for problem in error.problems)


def test_the_copy_loads_as_it_is(forged):
    assert load(forged.folder).config.labels == ("a", "b")


class TestSums:
    @pytest.mark.parametrize(
        "name",
        [
            "/etc/hostname",
            "../b/config.yaml",
            "a/../../outside.txt",
            "..\\outside.txt",
            "C:/outside.txt",
            "./config.yaml",
            "a//b",
            "config.yaml/",
            "..",
            "//host/share",
        ],
    )
    def test_a_path_that_leads_out_is_refused(self, forged, name):
        outside = forged.folder.parent / "outside.txt"
        outside.write_text("secret")
        forged.add_line(hashlib.sha256(b"secret").hexdigest(), name)
        refused(forged, r"line 5: .* is no path inside of the folder")

    def test_a_line_that_stands_twice_is_refused(self, forged):
        forged.add_line("0" * 64, "config.yaml")
        refused(forged, "line 5: 'config.yaml' stands twice")

    @pytest.mark.parametrize(
        "line",
        ["", "no sum", "0" * 63 + "  x", "A" * 64 + "  x", "0" * 64 + " x", "0" * 64 + "  x\ty"],
    )
    def test_a_line_that_is_none_is_refused(self, forged, line):
        path = forged.folder / "SHA256SUMS"
        path.write_text(path.read_text() + line + "\n")
        refused(forged, "line 5: is not a SHA-256, two blanks and a name")

    def test_one_of_many_megabytes_is_refused(self, forged):
        with (forged.folder / "SHA256SUMS").open("ab") as file:
            file.truncate(2**40)
        refused(forged, "is larger than 1 MiB")

    def test_it_is_refused_at_every_length(self, forged):
        path = forged.folder / "SHA256SUMS"
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            refused(forged, "has no line for|is not a SHA-256")

    def test_links_that_lead_out_are_refused(self, forged, tmp_path):
        for name in ("adapter.safetensors", "config.yaml", "SHA256SUMS"):
            inside, outside = forged.folder / name, tmp_path / name
            inside.rename(outside)
            inside.symlink_to(outside)
            refused(forged, f"{name}: is a link that leads out of the folder")
            inside.unlink()
            outside.rename(inside)
        assert load(forged.folder).config.labels == ("a", "b")

    def test_a_link_within_the_folder_is_none_of_these(self, forged, tmp_path):
        (forged.folder / "config.yaml").rename(forged.folder / "real.yaml")
        (forged.folder / "config.yaml").symlink_to("real.yaml")
        (tmp_path / "link").symlink_to(forged.folder)
        assert load(tmp_path / "link").config.labels == ("a", "b")

    def test_a_folder_of_links_is_refused(self, forged, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "config.json").write_text("{}")
        (forged.folder / "backbone").symlink_to(tmp_path / "elsewhere")
        refused(forged, r"backbone/config.json: is not listed")
        forged.add_line(hashlib.sha256(b"{}").hexdigest(), "backbone/config.json")
        refused(forged, r"backbone/config.json: is a link that leads out of the folder")

    def test_a_link_to_itself_is_refused(self, forged):
        path = forged.folder / "metrics.json"
        path.unlink()
        path.symlink_to("metrics.json")
        refused(forged, "metrics.json: is missing")

    def test_a_pipe_in_place_of_a_file_is_not_waited_for(self, forged):
        path = forged.folder / "metrics.json"
        path.unlink()
        os.mkfifo(path)
        refused(forged, "metrics.json: is missing")

    def test_a_file_that_nobody_may_read_is_told(self, forged, monkeypatch):
        def denied(path):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr("trainers.folder._sha256", denied)
        refused(forged, "cannot be read .*Permission denied")


HARMFUL = {
    "tag": "!!python/object/apply:os.system ['touch {trace}']",
    "name": "!!python/name:os.system",
    "module": "!!python/module:antigravity",
    "plain tag": "!!binary aGk=",
    "anchor": "&a [1, 2]",
    "laughs": "[&a [x, x], &b [*a, *a, *a], &c [*b, *b, *b], [*c, *c, *c]]",
    "merge": "{{<<: [1]}}",
    "nesting": "[" * 10_000,
    "digits": "9" * 100_000,
    "sixties": "1" + ":59" * 50_000,
    "float of sixties": "1" + ":59" * 50_000 + ".5",
    "unhashable": "{{[1]: 2}}",
    "not printable": "\x07",
    "two documents": "1\n---\n2",
}


class TestConfig:
    @pytest.mark.parametrize("kind", HARMFUL)
    def test_yaml_that_harms_runs_nothing_and_is_refused_soon(self, forged, tmp_path, kind):
        trace = tmp_path / "ran"
        text = (forged.folder / "config.yaml").read_text()
        forged.write("config.yaml", f"{text}extra: {HARMFUL[kind].format(trace=trace)}\n".encode())
        refused(forged, r"config\.yaml: not YAML of plain data")
        assert not trace.exists()

    def test_billions_of_laughs_are_refused_soon(self, forged):
        lines = ["laugh0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"laugh{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12)]
        forged.write("config.yaml", "\n".join(lines).encode())
        refused(forged, "an anchor or an alias")

    def test_one_of_many_megabytes_is_refused(self, forged):
        forged.write("config.yaml", b"a: " + b"x" * 2**21)
        refused(forged, "is larger than 1024 KiB")

    def test_it_is_refused_at_every_length(self, forged):
        whole = (forged.folder / "config.yaml").read_bytes().rstrip(b"\n")
        for length in range(len(whole)):
            forged.write("config.yaml", whole[:length])
            # The provenance comes last, and may be cut without harm to what is loaded.
            if length < whole.index(b"provenance") + len(b"provenance:\n  study:"):
                refused(forged, "config.yaml")
            else:
                loads_or_is_refused(forged)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"format": 3}, "has the format 3, but this version of paradapt reads 2"),
            ({"format": 10**30}, "has the format 10000"),
            ({"max_length": 10**9}, "`max_length` is 1 to 1000000 tokens, but got 1000000000"),
            ({"max_length": 0}, "`max_length` is 1 to 1000000 tokens"),
            ({"max_length": -1}, "`max_length` is 1 to 1000000 tokens"),
            ({"max_length": 65}, "`max_length` is at most 64, which is all"),
            ({"labels": 10**9}, "`labels` is missing or no list"),
            ({"labels": [f"l{n}" for n in range(60_000)]}, "do not belong to this structure"),
            ({"exit_threshold": 1e300}, "`exit_threshold` is a number where"),
        ],
    )
    def test_counts_without_bounds_are_refused(self, forged, changes, match):
        forged.configure(**changes)
        refused(forged, match)

    @pytest.mark.parametrize("size", [10**6, 10**9, 10**18, 10**60])
    @pytest.mark.parametrize("kind", ["lora", "experts", "bottleneck", "prefix", "side", "skip"])
    def test_structures_without_bounds_take_no_memory(self, forged, kind, size):
        entry = {"role": "query", "kind": "lora", "alpha": 8, "layers": [0]}
        spec = {"depth": 2, "pooling": "mean", "adapters": []}
        spec |= {
            "lora": {"adapters": [entry | {"rank": size}]},
            "experts": {
                "adapters": [
                    entry | {"rank": 4, "experts": size, "top_k": 1, "router": "token"},
                ]
            },
            "bottleneck": {
                "adapters": [
                    {"role": "ffn", "kind": "bottleneck", "rank": size, "layers": [0]},
                ]
            },
            "prefix": {
                "adapters": [
                    {"role": "attention", "kind": "prefix", "rank": size, "layers": [0]},
                ]
            },
            "side": {"side": {"width": size, "boundaries": [1]}},
            "skip": {"skips": [{"token_keep": 0.5, "rank": size, "layers": [0]}]},
        }[kind]
        forged.configure(spec=spec)
        refused(forged, r"do not belong to this structure: it has [\d,]{9,} trained parameters")

    def test_a_structure_of_many_layers_is_refused_soon(self, forged):
        entry = {"role": "query", "kind": "lora", "rank": 1, "alpha": 8}
        layers = [*range(60_000)]
        spec = {"depth": 10**9, "pooling": "mean", "adapters": [entry | {"layers": layers}]}
        forged.configure(spec=spec)
        refused(forged, "runs 1000000000 blocks, but the backbone .* has 4")

    @pytest.mark.parametrize("alpha", [10**400, float("inf"), float("nan"), -1, 0])
    def test_an_alpha_that_is_none_is_refused(self, forged, alpha):
        entry = {"role": "query", "kind": "lora", "rank": 1, "alpha": alpha, "layers": [0]}
        forged.configure(spec={"depth": 2, "pooling": "mean", "adapters": [entry]})
        refused(forged, "config.yaml: ")

    @pytest.mark.parametrize(
        ("task", "exits", "match"),
        [
            ("text-classification", {}, "has no pooling, but this task answers for whole rows"),
            ("token-classification", {"exits": [1]}, "early exits, which answer for whole rows"),
        ],
    )
    def test_a_structure_that_answers_for_something_else_is_refused(
        self, forged, task, exits, match
    ):
        spec = {"depth": 2, "pooling": "none", "adapters": [], **exits}
        forged.configure(task=task, spec=spec, exit_threshold=0.5 if exits else None)
        refused(forged, match)


class TestWeights:
    @pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
    def test_another_type_is_refused(self, forged, kind):
        forged.weigh({name: tensor.to(kind) for name, tensor in forged.state().items()})
        refused(forged, rf"is of {kind}; trained weights are float32")

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    def test_what_is_no_number_is_refused(self, forged, value):
        state = forged.state()
        name = sorted(state)[0]
        state[name].view(-1)[-1] = value
        forged.weigh(state)
        refused(forged, f"{name} holds values that are not finite numbers")

    def test_another_shape_is_refused(self, forged):
        forged.weigh({name: tensor.flatten() for name, tensor in forged.state().items()})
        refused(forged, "has the shape .* but the structure wants")

    def test_more_than_belongs_there_is_refused(self, forged):
        forged.weigh(forged.state() | {"extra": torch.zeros(3)})
        refused(forged, "do not belong to this structure: .*extra")

    def test_the_file_is_refused_at_every_length(self, forged):
        path = forged.folder / "adapter.safetensors"
        whole = path.read_bytes()
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            with pytest.raises(UserError, match="no complete safetensors file"):
                read_tensors(path)

    @pytest.mark.parametrize("size", [2**20, 2**40, 2**63, 2**64 - 1])
    def test_a_header_that_claims_to_be_long_is_refused(self, forged, size):
        forged.write("adapter.safetensors", struct.pack("<Q", size) + b"{}")
        refused(forged, "no complete safetensors file")

    def test_a_pickle_in_its_place_is_not_opened(self, forged, tmp_path):
        trace = tmp_path / "ran"
        content = f"cos\nmkdir\n(S'{trace}'\ntR.".encode()
        forged.write("adapter.safetensors", content)
        refused(forged, "no complete safetensors file")
        torch.save({"x": torch.zeros(2)}, tmp_path / "x.pt")
        forged.write("adapter.safetensors", (tmp_path / "x.pt").read_bytes())
        refused(forged, "no complete safetensors file")
        assert not trace.exists()


class Fuzz:
    """Whatever is done to a bundle, it loads or is refused in words."""

    def run_config(self, forged, draw):
        config = yaml.safe_load(forged.original("config.yaml"))
        for change in draw.draw(st.lists(CONFIG_CHANGES, min_size=1, max_size=3)):
            change(config)
        forged.write("config.yaml", yaml.safe_dump(config).encode("utf-8", "surrogatepass"))
        loads_or_is_refused(forged)

    def run_header(self, forged, draw):
        content = forged.original("adapter.safetensors")
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        for change in draw.draw(st.lists(HEADER_CHANGES, min_size=1, max_size=3)):
            change(header)
        text = json.dumps(header).encode()
        forged.write(
            "adapter.safetensors", struct.pack("<Q", len(text)) + text + content[8 + size :]
        )
        loads_or_is_refused(forged)

    def run_bytes(self, forged, draw):
        name = draw.draw(st.sampled_from(["config.yaml", "adapter.safetensors", "SHA256SUMS"]))
        content = draw.draw(changed_bytes(forged.original(name)))
        forged.write(name, content)
        loads_or_is_refused(forged)
        forged.restore()


@pytest.mark.parametrize("way", ["config", "header", "bytes"])
class TestFuzz(Fuzz):
    @QUICK
    @given(draw=st.data())
    def test_it_loads_or_is_refused(self, forged, way, draw):
        getattr(self, f"run_{way}")(forged, draw)

    @pytest.mark.slow
    @LONG
    @given(draw=st.data())
    def test_it_loads_or_is_refused_many_times(self, forged, way, draw):
        getattr(self, f"run_{way}")(forged, draw)
