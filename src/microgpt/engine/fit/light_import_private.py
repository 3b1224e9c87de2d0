"""Import Lightning without the packages that a run may never use.

Importing Lightning brings all of torchmetrics, for two classes, which brings matplotlib and, where it is installed,
transformers. Here each is imported when something asks for it, in place, and is as ever from then on. Lightning also
brings torch's compiler, which stays: a compiler that was put off could skip what it was asked to compile.

The names below are those of Lightning >=2.6.6,<2.7 and torchmetrics 1. With others everything is imported at once, as
without this file.
"""

import importlib
import importlib.util
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from microgpt.engine.process.drawing import import_matplotlib

METRICS, PLOT = "torchmetrics", "torchmetrics.utilities.plot"
_LOCK = threading.RLock()


def import_lightning() -> None:
    """Import Lightning, unless it is imported already."""
    if "lightning" in sys.modules:
        return
    deferred: list[str] = []
    try:
        deferred += [module.__name__ for module in defer_metrics() if module is not None]
        importlib.import_module("lightning")
    except Exception:
        for name in list(sys.modules):
            if name in deferred or name.partition(".")[0] in ("lightning", METRICS):
                del sys.modules[name]
        import_matplotlib()
        importlib.import_module("lightning")


class Deferred(ModuleType):
    """A module that runs its own code, in place, once something asks for a name that it does not have yet.

    Args:
        spec: where it is.
        names: what it has before; its own code defines them anew.
        homes: names that a submodule defines, which is imported for them -> the submodule.
    """

    def __init__(self, spec: ModuleSpec, names: Mapping[str, Any], homes: Mapping[str, str]) -> None:
        super().__init__(spec.name)
        self.__spec__, self.__loader__, self.__file__, self.__package__ = spec, spec.loader, spec.origin, spec.parent
        if spec.submodule_search_locations is not None:
            self.__path__ = spec.submodule_search_locations
        vars(self).update(names)
        self._names, self._homes, self._is_loading = names, homes, False

    def __getattr__(self, name: str) -> Any:
        if name in self._homes and not self._is_loading:
            return getattr(importlib.import_module(self._homes[name]), name)
        if not name.startswith("__"):  # what Python itself looks for in every module
            load(self)
            if name in vars(self):
                return vars(self)[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def load(module: ModuleType) -> None:
    """Run the code of a deferred module, unless it has been run or is being run by this thread."""
    with _LOCK:
        if not isinstance(module, Deferred) or module._is_loading:
            return
        module._is_loading = True
        if module.__name__ == PLOT:
            import_matplotlib()  # before it does
        names, spec = module._names, module.__spec__
        for name in names:
            vars(module).pop(name, None)
        try:
            assert spec is not None
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except BaseException:
            vars(module).update(names, _is_loading=False)
            raise
        for name in ("_names", "_homes", "_is_loading"):
            del vars(module)[name]
        module.__class__ = ModuleType  # type: ignore[assignment]


def defer(spec: ModuleSpec | None, names: Mapping[str, Any], homes: Mapping[str, str] | None = None) -> Deferred | None:
    """Put a deferred module where Python looks for imported ones; None if it is imported or cannot be found."""
    if spec is None or spec.loader is None or spec.name in sys.modules:
        return None
    module = sys.modules[spec.name] = Deferred(spec, names, homes or {})
    return module


def defer_metrics() -> Sequence[Deferred | None]:
    """Defer torchmetrics, but for `Metric` and `MetricCollection`, and what these would import to draw."""
    spec = None if METRICS in sys.modules else importlib.util.find_spec(METRICS)
    if spec is None or spec.submodule_search_locations is None:
        return ()
    homes = {"Metric": "torchmetrics.metric", "MetricCollection": "torchmetrics.collections"}
    package = defer(spec, {"_logger": logging.getLogger(METRICS)}, homes)
    folders = [f"{folder}/utilities" for folder in spec.submodule_search_locations]
    names = {"_AX_TYPE": object, "_PLOT_OUT_TYPE": object, "plot_single_or_multi_val": plot_single_or_multi_val}
    plot = defer(PathFinder.find_spec(PLOT, folders), names)
    utilities: Any = importlib.import_module("torchmetrics.utilities")  # before `metric`: they import one another
    utilities.plot = sys.modules[PLOT]
    return package, plot


def plot_single_or_multi_val(*args: Any, **kwargs: Any) -> Any:
    """torchmetrics' function of this name, which imports matplotlib."""
    module = importlib.import_module(PLOT)
    load(module)
    return module.plot_single_or_multi_val(*args, **kwargs)
