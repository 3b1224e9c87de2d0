"""Convert overrides to Hydra's form, and Hydra's errors about them to one-line errors."""

import re
import shlex
from collections.abc import Sequence

from microgpt.config import Config, ConfigError, Fault
from microgpt.engine.compose.advice import refuse_foreign
from microgpt.engine.compose.groups import config_groups, shipped_yaml
from microgpt.engine.compose.texts import as_texts, is_readable, text_knobs
from microgpt.engine.compose.words import beside_its_word
from microgpt.errors import UsageError
from microgpt.text import did_you_mean, quoted


def as_hydra_takes_them(overrides: Sequence[str], root: type[Config], is_sweep: bool = False) -> list[str]:
    """Quote texts, and let unknown keys pass: `a.b=1` becomes `++a.b=1`, `experiment=null` becomes `~experiment`, and
    `logger=null` becomes `logger=none`.

    The decoder then reports an unknown key with a suggestion, together with every other fault.

    Raises:
        ConfigError: a word is no override, or another program's.
    """
    refuse_foreign(overrides, root)
    known, kinds = config_groups(shipped_yaml()), text_knobs(root)
    taken = []
    for override in (as_texts(word, kinds, is_sweep) for word in overrides):
        is_key = re.match(r"[A-Za-z_][\w.]*=", override)
        if override == "experiment=null":
            taken.append("~experiment")
        elif override in ("logger=null", "callbacks=null"):
            taken.append(override.replace("=null", "=none"))
        elif is_key and override.split("=", 1)[0] not in known and not override.startswith("hydra."):
            taken.append(f"++{beside_its_word(override, root)}")
        else:
            taken.append(override)
    return taken


def explain(error: Exception, overrides: Sequence[str]) -> UsageError:
    """Convert Hydra's error to a one-line error with a suggestion."""
    text = str(error)
    return (
        _missing_part(text)
        or _unreadable(text, overrides)
        or UsageError(next(iter(text.strip().splitlines()), type(error).__name__), "the overrides", "see --help")
    )


def _missing_part(text: str) -> UsageError | None:
    """The error for a word that names no part, if that is the cause."""
    known = config_groups(shipped_yaml())
    if missing := re.search(r"Could not (?:find|load) '([^']+/[^']+)'", text):
        group = next((name for name in known if missing[1].startswith(f"{name}/")), missing[1].rpartition("/")[0])
        option = missing[1].removeprefix(f"{group}/")
        return ConfigError([Fault(group, f"no such choice {option!r}", did_you_mean(option, known.get(group, ())))])
    unknown = re.search(r"Could not override '([^'@]+)'", text)
    if unknown and (key := unknown[1]) not in known:
        return ConfigError([Fault(key, "no such group", did_you_mean(key, known))])
    if unknown:
        node, _, name = key.rpartition(".")
        fix = f"begin it with 'defaults: [{{/{key}@{name}: {known[key][0]}}}]'"
        return ConfigError([Fault(key, f"the YAML that {node or 'the run'} was chosen by has no place for it", fix)])
    return None


def _unreadable(text: str, overrides: Sequence[str]) -> UsageError | None:
    """The error for an override that Hydra's grammar rejects, if that is the cause."""
    if ambiguous := re.match(r"Ambiguous value for argument '(?:\+\+)?([^']*)'", text):
        fix = f"add -m to sweep over several values, or quote one that has a comma: {with_quotes(ambiguous[1])}"
        return UsageError(f"several values, {ambiguous[1]!r}", "a single run", fix)
    if re.search(r"(NoViableAlt|no viable alternative|mismatched input|extraneous input|token recognition)", text):
        culprit = next((word for word in overrides if not is_readable(word)), " ".join(overrides))
        fix = "write key=value, and quote special characters: "
        return UsageError(f"cannot read {culprit!r}", "the overrides", fix + with_quotes(culprit))
    if parse := re.match(r"Error parsing override '(.*)'", text):
        fix = f"write key=value, and quote values with special characters: {with_quotes(parse[1])}"
        return UsageError(f"cannot read {parse[1]!r}", "the overrides", fix)
    return None


def with_quotes(override: str) -> str:
    """An override with quotes for Hydra around its value and for the shell around the whole."""
    key, equals, value = override.partition("=")
    if not equals:
        return "'key=\"a, b\"'"
    word = f"{key}={quoted(value)}"
    return shlex.quote(word) if re.search(r"[\"$`\\!]", word) else f'"{word}"'
