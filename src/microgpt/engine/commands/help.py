"""`microgpt-train --help`: read from conf/ and from the sources, without importing torch, Lightning or Hydra."""

from microgpt.engine.compose.conf import conf_dir, groups

USAGE = """\
microgpt-train trains a small GPT on text.

  microgpt-train                                   the default run: Python's manual, a small model, a few minutes
  microgpt-train data.path=book.txt                your own text
  microgpt-train model=gpt-mini model.pos=alibi    choose parts, a word each
  microgpt-train trainer.max_steps=2000 seed=1     set knobs
  microgpt-train -m model.pos=rope,alibi seed=1,2  a sweep over all combinations
  microgpt-train --cfg job                         every knob and its value, without training
  microgpt-train plan=true                         what a run will cost, without training

Options: -m/--multirun, --config-dir DIR (your own YAML), --cfg job, --debug, --help
"""


def print_help() -> None:
    """Print the usage, the choices for each part, and every knob with its default and meaning."""
    from microgpt.engine.commands.knobs import knobs, parts

    print(USAGE)
    print("Parts:")
    choices = dict(sorted((groups(conf_dir()) | parts()).items()))
    width = max(map(len, choices))
    for group, options in choices.items():
        print(f"  {group + '=':<{width + 1}} {' '.join(options)}")
    print("\nKnobs:")
    for knob in knobs():
        print(f"  {knob.name}={knob.default}\n      {knob.doc}")
