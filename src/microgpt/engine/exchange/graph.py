"""An exported graph as plain data: JSON of ATen operations, and the weights as one piece of memory.

    {"inputs": {"token": {"shape": [1, 1], "type": "int"}, ...},
     "tensors": {"model.wte.weight": {"shape": [65, 128], "type": "float16", "start": 0}, ...},
     "nodes": [{"op": "linear.default", "name": "linear", "args": ["%add", "%model.wte.weight"], "shape": [1, 1, 128],
                "type": "float"}, ...],
     "outputs": {"logits": "linear_8", ...}}

An argument that begins with % names an input, a tensor or an earlier node.
"""

import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from microgpt.model.kernels import torch_private

Weights = Literal["float16", "int8"]
DROPPED = {"device", "layout", "pin_memory", "memory_format", "non_blocking"}
"Arguments that say where or how, not what."
SILENT = {"_assert_tensor_metadata.default"}
STORED = {"float16": torch.float16, "float32": torch.float32, "int8": torch.int8, "int32": torch.int32}


def to_graph(program: torch.export.ExportedProgram) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A program's graph without its weights, and the tensors that it reads: parameters, and the constants of parts."""
    signature = program.graph_signature
    held = {**program.constants, **dict(program.named_buffers()), **dict(program.named_parameters())}
    target = {spec.arg.name: spec.target for spec in signature.input_specs if spec.target is not None}
    name_of = {node: f"%{target.get(node.name, node.name)}" for node in program.graph.nodes}
    inputs, nodes = {}, []
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name not in target:
            inputs[node.name] = described(node.meta["val"])
        elif node.op == "call_function" and op_name(node.target) not in SILENT:
            args = plain(node.args, name_of)
            kwargs = {key: plain(value, name_of) for key, value in node.kwargs.items() if key not in DROPPED}
            entry = {"op": op_name(node.target), "name": node.name, "args": args, **described(node.meta["val"])}
            nodes.append(entry | ({"kwargs": kwargs} if kwargs else {}))
    outputs = [spec.arg.name for spec in signature.output_specs]
    paths = torch_private.tree_unflatten(outputs, program.call_spec.out_spec)
    assert isinstance(paths, dict)
    graph = {"inputs": inputs, "nodes": nodes, "outputs": paths}
    used = {target[node.name] for node in program.graph.nodes if node.name in target and node.users}
    return graph, {name: held[name] for name in target.values() if name in used}


def op_name(target: Any) -> str:
    """An operation's name and overload: `add.Tensor`, or `getitem`."""
    return "getitem" if target is operator.getitem else str(target).removeprefix("aten.")


def described(value: Any) -> dict[str, Any]:
    """Shape and type of a node's value, lists of them for several."""
    if isinstance(value, (list, tuple)):
        each = [described(one) for one in value]
        return {"shape": [one["shape"] for one in each], "type": [one["type"] for one in each]}
    if not isinstance(value, Tensor):
        return {"shape": [], "type": "none"}
    kind = "bool" if value.dtype is torch.bool else "float" if value.dtype.is_floating_point else "int"
    return {"shape": list(value.shape), "type": kind}


def plain(value: Any, name_of: Mapping[Any, str]) -> Any:
    """A node's argument as JSON: nodes by name, dtypes by name, infinities as text."""
    if isinstance(value, torch.fx.Node):
        return name_of[value]
    if isinstance(value, (list, tuple)):
        return [plain(one, name_of) for one in value]
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def rounded(tensor: Tensor, weights: Weights) -> dict[str, Tensor]:
    """A tensor as the page stores it: `values`, and for int8 one float32 `scale` a row.

    Only parameters are rounded: the tables of position schemes keep float32, and so do weights beyond float16's range.
    """
    if not tensor.is_floating_point():
        return {"values": tensor.int()}
    values = tensor.detach().float()
    if isinstance(tensor, nn.Parameter):
        if weights == "int8" and values.dim() == 2:
            scale = values.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
            return {"values": (values / scale).round().to(torch.int8), "scale": scale}
        if (half := values.half()).isfinite().all():
            values = half
    return {"values": values}


def restored(stored: Mapping[str, Tensor]) -> Tensor:
    """The weight that the page computes with."""
    values = stored["values"]
    if values.dtype is torch.int32:
        return values.long()
    return values.float() * stored["scale"] if "scale" in stored else values.float()


def packed(tensors: Mapping[str, Mapping[str, Tensor]]) -> tuple[dict[str, Any], bytes]:
    """Lay stored tensors one after another; returns where each begins, and the bytes, little-endian."""
    table: dict[str, Any] = {}
    pieces: list[bytes] = []
    size = 0
    for name, stored in tensors.items():
        entry: dict[str, Any] = {"shape": list(stored["values"].shape)}
        for part, tensor in stored.items():
            data = tensor.contiguous().numpy().tobytes()
            data += bytes(-len(data) % 4)  # a Float32Array begins at a multiple of four
            entry |= (
                {"start": size, "type": str(tensor.dtype).removeprefix("torch.")}
                if part == "values"
                else {"scale": size}
            )
            pieces.append(data)
            size += len(data)
        table[name] = entry
    return table, b"".join(pieces)


def unpacked(table: Mapping[str, Any], data: bytes) -> dict[str, Tensor]:
    """The weights in `data`, as the page computes with them."""

    def read(start: int, kind: str, shape: list[int]) -> Tensor:
        count = math.prod(shape)
        if count == 0:
            return torch.empty(shape, dtype=STORED[kind])
        return torch.frombuffer(bytearray(data), dtype=STORED[kind], count=count, offset=start).view(shape)

    found = {}
    for name, entry in table.items():
        stored = {"values": read(entry["start"], entry["type"], entry["shape"])}
        if "scale" in entry:
            stored["scale"] = read(entry["scale"], "float32", [entry["shape"][0], 1])
        found[name] = restored(stored)
    return found


@torch.no_grad()
def evaluate(graph: Mapping[str, Any], tensors: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, Any]:
    """Run a graph with torch: what the page's reader does, to check what was written."""
    values: dict[str, Any] = {**tensors, **given}

    def real(value: Any) -> Any:
        if isinstance(value, list):
            return [real(one) for one in value]
        if isinstance(value, str):
            if value.startswith("%"):
                return values[value[1:]]
            if value in ("Infinity", "-Infinity", "NaN"):
                return float(value)
            dtype = getattr(torch, value, None)
            return dtype if isinstance(dtype, torch.dtype) else value  # else a word, such as gelu's "tanh"
        return value

    for node in graph["nodes"]:
        name, _, overload = node["op"].partition(".")
        call = operator.getitem if name == "getitem" else getattr(getattr(torch.ops.aten, name), overload)
        kwargs = {key: real(value) for key, value in node.get("kwargs", {}).items()}
        values[node["name"]] = call(*map(real, node["args"]), **kwargs)
    return torch_private.tree_map(values.__getitem__, graph["outputs"])  # type: ignore[no-any-return]


def operations(graphs: Iterable[Mapping[str, Any]]) -> set[str]:
    """The names of the operations that occur, without overloads."""
    return {node["op"].partition(".")[0] for graph in graphs for node in graph["nodes"]}
