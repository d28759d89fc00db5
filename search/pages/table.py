"""The pages of a study, by the name of their artifact."""

from collections.abc import Callable, Mapping

from search.pages.hypervolume import hypervolume_html
from search.pages.importance import importance_html
from search.pages.layer_map import layer_map_html
from search.pages.parallel import parallel_html
from search.pages.pareto import pareto_html
from search.pages.pruning import pruning_html
from search.pages.sensitivity import sensitivity_html
from search.pages.timeline import timeline_html
from search.snapshot import StudySnapshot

PAGES: Mapping[str, Callable[[StudySnapshot], str]] = {
    "pareto.html": pareto_html,
    "hypervolume.html": hypervolume_html,
    "importance.html": importance_html,
    "sensitivity.html": sensitivity_html,
    "parallel.html": parallel_html,
    "layers.html": layer_map_html,
    "pruning.html": pruning_html,
    "timeline.html": timeline_html,
}
"""The first is what `paradapt ui` opens, and the one that is drawn most often."""
FIRST_PAGE = next(iter(PAGES))
