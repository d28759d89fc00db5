"""A bundle to be forged, and ways to forge it."""

import hashlib
import shutil
from pathlib import Path

import yaml
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.trainers.whole_bundle import write_whole

_SUMS = "SHA256SUMS"


class Forged:
    """A bundle whose checksums are made right again after every change, as a forger would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._kept = {path.name: path.read_bytes() for path in folder.iterdir()}

    @classmethod
    def written(cls, folder, config, model):
        write_whole(folder, config, model.trained_state())
        return cls(folder)

    def copied(self, folder):
        return Forged(shutil.copytree(self.folder, folder))

    def original(self, name):
        """What the file held at first."""
        return self._kept[name]

    def restore(self):
        for name, content in self._kept.items():
            (self.folder / name).write_bytes(content)

    def write(self, name, content):
        (self.folder / name).write_bytes(content)
        if name != _SUMS:
            self.sign()

    def sign(self):
        names = [name for name in self._kept if name != _SUMS]
        sums = [hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in names]
        lines = [f"{digest}  {name}\n" for digest, name in zip(sums, names, strict=True)]
        (self.folder / _SUMS).write_text("".join(lines))

    def add_line(self, digest, name):
        with (self.folder / _SUMS).open("a") as file:
            file.write(f"{digest}  {name}\n")

    def configure(self, **changes):
        config = yaml.safe_load(self._kept["config.yaml"])
        self.write("config.yaml", yaml.safe_dump({**config, **changes}).encode())

    def state(self):
        return load_file(self.folder / "adapter.safetensors")

    def weigh(self, state):
        save_file(dict(state), self.folder / "adapter.safetensors")
        self.sign()


_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.sampled_from([2**31, 2**63, 10**30, -(10**30), 10**200]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["lora", "query", "attention", "mean", "none", "prefix", "text-regression"]),
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
_ROUTES = st.lists(st.integers(0, 12), min_size=1, max_size=5)


def _changed(route, value, how):
    """Return what walks into plain data as far as it goes, and there changes one thing."""

    def change(data):
        for step in route[:-1]:
            inner = list(data.values()) if isinstance(data, dict) else data
            nested = [item for item in inner if isinstance(item, (dict, list)) and item]
            if not nested:
                break
            data = nested[step % len(nested)]
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        if how == "add" or not keys:
            if isinstance(data, dict):
                data[str(route[-1])] = value
            else:
                data.append(value)
        elif how == "drop":
            del data[keys[route[-1] % len(keys)]]
        else:
            data[keys[route[-1] % len(keys)]] = value

    return change


CONFIG_CHANGES = st.builds(
    _changed, _ROUTES, _VALUES, st.sampled_from(["replace", "replace", "drop", "add"])
)
"""Functions that change a config in place."""

HEADER_CHANGES = st.builds(
    _changed,
    _ROUTES,
    st.one_of(
        st.sampled_from(["F64", "F16", "BF16", "I64", "BOOL", "F8_E4M3", "F8_E8M0", "F4", "C64"]),
        st.integers(-1, 4),
        st.lists(st.sampled_from([0, 1, 2, 8, 32, 64, 256, 2**40, 2**63]), max_size=3),
        _VALUES,
    ),
    st.sampled_from(["replace", "replace", "drop", "add"]),
)
"""Functions that change the header of a safetensors file in place."""

_MARKS = [b"&a ", b"*a", b"!!int ", b"\n", b"[", b"{", b": "]


@st.composite
def changed_bytes(draw, content):
    """Content with bytes replaced, cut out and put in."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        how = draw(st.sampled_from(["put", "put", "cut", "swap"]))
        if how == "put":
            found[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif how == "cut":
            del found[at : at + draw(st.integers(1, 64))]
        else:
            found[at:at] = draw(
                st.sampled_from([b"&a ", b"*a", b"!!int ", b"\n", b"[", b"{", b": "])
            )
    return bytes(found)
