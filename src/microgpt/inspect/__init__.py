"""See inside a trained model: its activations by name, the classic analyses, and interventions.

    run = load("runs/mine")
    trace = run.inspect("To be, or not")
    trace["blocks.0.attn.probabilities"]             (H, T, T)
    trace.surprisal(), trace.logit_lens(), trace.attention(0, 1), trace.top(5), trace.attribution()
    with run.model.patched({"blocks.0.attn.head.1": zero}):
        run.inspect("To be, or not").surprisal()
    head_importance(run, text), induction_score(run)

Names and shapes are listed in `microgpt.model.activations`. Needs torch and numpy; `.plot()` needs matplotlib. A
notebook shows every result.
"""

from microgpt.inspect.attribution import Attribution
from microgpt.inspect.heads import HeadScores, head_importance, induction_score
from microgpt.inspect.history import InductionHistory, induction_history
from microgpt.inspect.trace import Trace, inspect, names
from microgpt.inspect.transformer_lens import to_transformer_lens
from microgpt.model.patches import Patch, at, mean, zero

__all__ = [
    "Attribution",
    "HeadScores",
    "InductionHistory",
    "Patch",
    "Trace",
    "at",
    "head_importance",
    "induction_history",
    "induction_score",
    "inspect",
    "mean",
    "names",
    "to_transformer_lens",
    "zero",
]
