"""The shipped YAML, and the config groups in a folder of YAML. Imports only the standard library, for `--help`."""

from pathlib import Path


def shipped_yaml() -> Path:
    """The folder of shipped YAML: the checkout's conf/, else the copy inside the installed package."""
    package = Path(__file__).parents[2]
    checkout = package.parents[1] / "conf"
    return checkout if package.parent.name == "src" and (checkout / "train.yaml").is_file() else package / "conf"


def config_groups(root: Path) -> dict[str, list[str]]:
    """The config groups under `root`: name as typed (`model.pos`) -> its options.

    Subfolders of a group hold further options (`experiment=speedrun/fast`).
    """
    tops = [path for path in sorted(root.rglob("*")) if path.is_dir() and any(path.glob("*.yaml"))]
    return {
        folder.relative_to(root).as_posix(): sorted(
            file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")
        )
        for folder in tops
        if folder.parent not in tops
    }
