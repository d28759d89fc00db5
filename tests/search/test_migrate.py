"""A migration before and behind the training: what is refused, what is tried, what is told."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import pytest

from search.context import prepare
from search.migrate import migrate
from search.migration_inputs import Request
from search.migration_report import in_markdown, in_words
from search.neighbourhood import Neighbour, Neighbourhood, neighbours, space_on
from search.progress import Progress
from search.study_file import load_study_file
from space.errors import UserError
from space.replay import params_for
from space.spec import AdapterSpec
from tests.end_to_end.tiny_study import listing, write_rows, write_study
from tests.search.migrated import BOTH, LEARNING, account_of, lora, train_bundle, write_topics
from tests.trainers.tiny import save_tiny
from tests.trainers.updates import shaken, without_blocks
from trainers.bundle import load
from trainers.outline import FEWER, SAME, Outline


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory, backbone):
    """A study, a bundle that was trained on it, and updates of its backbone."""
    folder = tmp_path_factory.mktemp("migrate")
    study = write_topics(folder, backbone)
    train_bundle(folder / "old", study)
    shaken(backbone, folder / "shaken")
    without_blocks(backbone, folder / "one-block", (0,))
    return folder


@pytest.fixture
def study(place):
    return load_study_file(place / "study.yaml")


@pytest.fixture
def refused(place, tmp_path):
    """Return a function that gives why a migration is refused, with nothing trained or written."""

    def run(study, backbone="shaken", folder="old", **changes):
        fields = {"output": tmp_path / "new", "epochs": None, "n_neighbours": 0} | changes
        asked = Request(folder=place / folder, backbone=str(place / backbone), **fields)
        progress, before = Progress(1), listing(tmp_path)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(UserError) as caught:
            patch.setattr("search.training.fit", lambda *_, **__: pytest.fail("it was trained"))
            try:
                migrate(study, asked, progress)
            finally:
                progress.close()
        assert listing(tmp_path) == before
        return "\n".join(caught.value.problems)

    return run


class TestRefused:
    def test_the_same_backbone(self, refused, study, backbone):
        assert "there is nothing to migrate" in refused(study, backbone=backbone)

    def test_an_output_that_is_there(self, refused, study, tmp_path):
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "file").touch()
        assert "exists already" in refused(study)

    def test_no_bundle(self, refused, study):
        assert "there is no such bundle" in refused(study, folder="nothing")

    def test_a_study_of_another_task(self, refused, tmp_path, backbone):
        other = load_study_file(
            write_study(tmp_path, task="text-regression", backbone=str(backbone))
        )
        assert "its task is text-regression, but the bundle" in refused(other)

    def test_a_study_whose_rows_are_read_otherwise(self, refused, tmp_path, backbone):
        data = {"train": "rows.csv", "label_separator": "|"}
        other = load_study_file(write_study(tmp_path, data=data, backbone=str(backbone)))
        assert "data.label_separator and data.text_pair must stand in both" in refused(other)

    def test_rows_with_other_labels(self, refused, tmp_path, backbone):
        write_rows(tmp_path / "rows.csv", 40, n_topics=2)
        other = load_study_file(write_study(tmp_path, backbone=str(backbone)))
        assert "they lack 'sport'. Give rows with the same labels" in refused(other)

    def test_a_backbone_that_is_not_there_or_reads_images(self, refused, study, tmp_path):
        assert "backbone:" in refused(study, backbone="nowhere")
        images = save_tiny("vit", tmp_path / "vit")
        assert "reads images" in refused(study, backbone=images)

    def test_no_training_where_the_shape_differs(self, refused, study):
        assert "--epochs 0: only moves" in refused(study, backbone="one-block", epochs=0)

    def test_a_space_that_the_new_backbone_does_not_have(self, refused, study):
        space = study.space.model_copy(update={"roles": ("ffn_gate",)})
        other = study.model_copy(update={"space": space})
        told = refused(other, backbone="one-block", n_neighbours=2)
        assert "--search: the study's space cannot be put on the new backbone" in told

    @pytest.mark.parametrize(
        "learning", [None, {}, {"learning_rate": 0.1}, {"head_learning_rate": float("inf")}]
    )
    def test_a_bundle_that_does_not_say_how_it_was_trained(
        self, refused, study, place, tmp_path, learning
    ):
        folder = tmp_path / "silent"
        train_bundle(
            folder,
            study,
            AdapterSpec(depth=1, adapters=(lora(0),)),
            provenance={"learning": learning},
        )
        assert "provenance.learning" in refused(study, folder=folder)

    def test_an_old_backbone_that_is_gone_and_was_not_recorded(self, refused, study, tmp_path):
        gone = shaken(Path(study.backbone), tmp_path / "gone", seed=3)
        own = study.model_copy(update={"backbone": str(gone)})
        train_bundle(tmp_path / "bundle", own, provenance={"backbone_shape": {"n_layers": 2}})
        (gone / "config.json").unlink()
        told = refused(study, folder=tmp_path / "bundle")
        assert "does not say how many blocks it had" in told and "Put the old backbone" in told


class TestNeighbours:
    @pytest.fixture
    def space(self, study):
        return prepare(study, Path.cwd(), stage=lambda _: None).space

    SPEC = AdapterSpec(depth=2, adapters=(lora(1),))

    def around(self, space, spec, n=6, seed=0):
        found = itertools.islice(neighbours(space, spec, LEARNING, seed), n)
        return list(found)

    def test_the_nearest_come_first_and_none_twice(self, space):
        own = params_for(space, self.SPEC, LEARNING)
        assert own is not None
        found = self.around(space, self.SPEC, 40)
        specs = [space.sample(_Given(params))[0] for params in found]
        assert self.SPEC not in specs and len(set(specs)) == len(specs)
        # A parameter that only exists with another one comes and goes with it.
        shared = [sum(params[k] != v for k, v in own.items() if k in params) for params in found]
        assert shared[:3] == [1, 1, 1] and max(shared) > 1
        assert all(
            params["learning_rate"] == LEARNING.learning_rate
            for params in found
            if "learning_rate" in params
        )

    def test_ordered_values_go_one_step(self, space):
        found = self.around(space, self.SPEC, 40)
        first = next(p for p in found if p.get("value_rank") not in (None, 4))
        ranks = sorted(space.rank)
        assert abs(ranks.index(first["value_rank"]) - ranks.index(4)) == 1

    def test_the_order_follows_from_the_seed(self, space):
        one = self.around(space, self.SPEC)
        assert one == self.around(space, self.SPEC) != self.around(space, self.SPEC, seed=5)

    def test_of_a_structure_outside_the_nearest_inside_is_the_first(self, space):
        outside = AdapterSpec(depth=2, adapters=(lora(1, rank=5),))
        assert params_for(space, outside, LEARNING) is None
        first, *_ = self.around(space, outside)
        spec, _ = space.sample(_Given(first))
        assert spec == AdapterSpec(depth=2, adapters=(lora(1),))

    def test_a_small_space_has_an_end(self, space):
        tiny = replace(
            space,
            depth=(1, 2),
            roles=("value",),
            rank=(2,),
            insertion=("last",),
            pooling=("mean",),
            learning_rate=0.01,
            token_keep=(1.0,),
            exits=("none",),
        )
        spec = AdapterSpec(depth=2, adapters=(lora(1, rank=2),))
        assert len(self.around(tiny, spec, 100)) == 3

    def test_depths_are_scaled_and_roles_that_are_not_there_left_out(self, study, tiny_shapes):
        former, shape, head = tiny_shapes
        own = study.space.model_copy(update={"depth": (2, 3, 4), "roles": ("ffn_gate", "value")})
        mapped = space_on(study.model_copy(update={"space": own}), former, shape, head)
        assert mapped.depth == (1, 2) and mapped.roles == ("value",)

    @pytest.fixture
    def tiny_shapes(self, study):
        context = prepare(study, Path.cwd(), stage=lambda _: None)
        former = replace(Outline.of(context.backbone), n_layers=4)
        return former, context.backbone.shape, context.cost.head


class _Given:
    """A trial whose values are given."""

    def __init__(self, params):
        self.params = params

    def suggest_int(self, name, low, high):
        return self.params[name]

    def suggest_float(self, name, low, high, *, log=False):
        return self.params[name]

    def suggest_categorical(self, name, choices):
        assert self.params[name] in choices
        return self.params[name]


@pytest.fixture(scope="module")
def told(place):
    """The account of a migration with a search around it, and what it wrote."""
    study = load_study_file(place / "study.yaml")
    before = {p: p.stat().st_mtime_ns for p in place.rglob("*") if p.is_file()}
    progress = Progress(4)
    asked = Request(
        folder=place / "old",
        backbone=str(place / "shaken"),
        output=place / "moved",
        epochs=None,
        n_neighbours=3,
    )
    try:
        account = migrate(study, asked, progress)
    finally:
        progress.close()
    after = {p: p.stat().st_mtime_ns for p in before}
    assert after == before and not (place / "paradapt.db").exists()
    assert not (place / "paradapt-artifacts").exists()
    return account


class TestAccount:
    def test_all_of_it_went_along(self, told):
        assert told.relation == SAME and told.new_parts == () and told.dropped == ()
        assert told.epochs == 1 and told.steps == 8  # a quarter of 4 epochs; 60 rows by 8
        assert told.after.structure == told.before.structure == BOTH.describe()

    def test_the_search_around_it_says_who_is_better(self, told):
        around = told.around
        assert len(around.complete) == around.n_wanted == 3 and around.failed == ()
        own = [told.trained[name] for name in told.objectives]  # accuracy up, GFLOPs down
        better = [
            n
            for n in around.complete
            if n.values[0] >= own[0] and n.values[1] <= own[1] and list(n.values) != own
        ]
        assert list(around.better) == better
        assert not around.inside  # a prefix is not in the study's space
        assert "It lies outside the study's space." in in_words(told)

    def test_terminal_card_and_data_say_the_same(self, told, place):
        data, card = account_of(place / "moved"), (place / "moved" / "README.md").read_text()
        assert data == json.loads(json.dumps(told.to_dict()))
        assert in_markdown(told) in card and card.startswith("# topics, trial 7, migrated\n")
        for line in told.lines():
            assert line in in_words(told) and f"- {line}" in card

    def test_it_can_be_migrated_again_and_knows_where_it_came_from(self, told, place):
        study = load_study_file(place / "study.yaml")
        progress = Progress(1)
        asked = Request(
            folder=place / "moved",
            backbone=str(place / "one-block"),
            output=place / "twice",
            epochs=1,
            n_neighbours=0,
        )
        try:
            account = migrate(study, asked, progress)
        finally:
            progress.close()
        first, second = load(place / "twice").config.provenance["lineage"]
        assert first["backbone_fingerprint"] == told.before.fingerprint
        assert first["sha256sums"] == told.parent_sha256
        assert first["moved_to_fingerprint"] == second["backbone_fingerprint"]
        assert second["moved_to_fingerprint"] == account.after.fingerprint
        assert first["provenance"]["trial"] == 7 and "lineage" not in second["provenance"]
        assert account.relation == FEWER

    @pytest.mark.parametrize(
        ("better", "failed", "says"),
        [
            ((), (), "Of 1 neighbour trained anew, none dominates it: it is still near the front."),
            (
                ("depth 1",),
                (),
                "1 dominates it, so that a new search may be worth its time: depth 1",
            ),
            ((), ("no memory left",), "1 more failed or broke a constraint."),
        ],
    )
    def test_the_front_in_words(self, told, better, failed, says):
        complete = (Neighbour(structure="depth 1", values=(1.0, 0.1)),)
        around = Neighbourhood(
            n_wanted=1,
            inside=True,
            complete=complete,
            failed=failed,
            better=tuple(n for n in complete if n.structure in better),
        )
        assert says in in_words(replace(told, around=around))

    def test_no_search_says_so(self, told):
        assert "was not looked at; --search N does." in in_words(replace(told, around=None))
