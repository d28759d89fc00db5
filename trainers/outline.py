"""The outline of a backbone: what of it a structure and its weights depend on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainers.backbone import Backbone
from trainers.families import Family

SAME, FEWER, SHAPE, FAMILY = "same shape", "fewer blocks", "another shape", "another family"
"""How a new backbone is related to the old one."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """A linear layer of a backbone's blocks."""

    d_in: int
    d_out: int
    place: str
    """Where in a block it is."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What of a backbone a structure and its weights depend on. A bundle keeps it, so that it can
    be migrated when its backbone is gone."""

    family: str
    n_layers: int
    width: int
    roles: Mapping[str, Role]

    @classmethod
    def of(cls, backbone: Backbone) -> "Outline":
        """Return the outline of a backbone."""
        places = dict(backbone.family.roles)
        return cls(
            family=backbone.family.model_type,
            n_layers=backbone.shape.n_layers,
            width=backbone.shape.width,
            roles={
                role: Role(d_in=d_in, d_out=d_out, place=_place(backbone.family, role))
                for role, (d_in, d_out) in backbone.shape.role_shapes
                if role in places
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "family": self.family,
            "n_layers": self.n_layers,
            "width": self.width,
            "roles": {name: dict(vars(role)) for name, role in self.roles.items()},
        }

    @classmethod
    def from_dict(cls, raw: Any) -> "Outline":
        """Return what `to_dict` wrote.

        Raises:
            ValueError: it is nothing of the kind.
        """
        try:
            found = cls(
                family=raw["family"],
                n_layers=raw["n_layers"],
                width=raw["width"],
                roles={name: Role(**role) for name, role in raw["roles"].items()},
            )
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"no outline of a backbone ({error})") from error
        sizes = [found.n_layers, found.width]
        sizes += [size for role in found.roles.values() for size in (role.d_in, role.d_out)]
        texts = [found.family, *found.roles, *(role.place for role in found.roles.values())]
        fitting = all(type(size) is int and size > 0 for size in sizes)
        if not fitting or not all(isinstance(text, str) for text in texts):
            raise ValueError("no outline of a backbone (a size or a name is of the wrong type)")
        return found

    def in_words(self) -> str:
        """Return it for people."""
        return f"{self.family}, {self.n_layers} blocks of width {self.width}"

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(input width, output width) of each role."""
        return {name: (role.d_in, role.d_out) for name, role in self.roles.items()}


def _place(family: Family, role: str) -> str:
    place = dict(family.roles)[role]
    return place.path + (f" (part {place.part + 1} of {place.n_parts})" * (place.n_parts > 1))


def relation(former: Outline, now: Outline) -> str:
    """Return how a new backbone is related to the old one: SAME, FEWER, SHAPE or FAMILY."""
    if former.family != now.family:
        return FAMILY
    if (former.width, former.sizes) != (now.width, now.sizes) or former.n_layers < now.n_layers:
        return SHAPE
    return SAME if former.n_layers == now.n_layers else FEWER
