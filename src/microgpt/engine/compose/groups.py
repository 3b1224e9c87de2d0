"""The YAML that ships and the config groups that a folder of YAML offers. Standard library alone, for `--help`."""

from pathlib import Path


def shipped_yaml() -> Path:
    """The folder of the YAML that ships: the checkout's conf/, else the copy inside the installed package."""
    package = Path(__file__).parents[2]
    checkout = package.parents[1] / "conf"
    return checkout if package.parent.name == "src" and (checkout / "train.yaml").is_file() else package / "conf"


def config_groups(root: Path) -> dict[str, list[str]]:
    """The config groups under `root`: name as typed (`model.pos`) -> its options.

    Folders inside a group hold more of its options (`experiment=speedrun/fast`).
    """
    tops = [path for path in sorted(root.rglob("*")) if path.is_dir() and any(path.glob("*.yaml"))]
    return {
        folder.relative_to(root).as_posix(): sorted(
            file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")
        )
        for folder in tops
        if folder.parent not in tops
    }
