"""Which tensors share memory, how long each lives, and where the arena holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinymlops.codegen.graph import Graph
from tinymlops.codegen.layer import NO_KERNEL, Lowered
from tinymlops.codegen.planner import Buffer, Plan, plan


@dataclass(frozen=True)
class Memory:
    """The arena.

    Attributes:
        buffers: What is placed: activations, then working memory.
        plan: Where.
        offsets: Tensor → its place; constants have none.
        constants: Tensor → the constant tensor whose values it has.
        scratch: Operator → the place of its working memory.
    """

    buffers: tuple[Buffer, ...]
    plan: Plan
    offsets: Mapping[int, int]
    constants: Mapping[int, int]
    scratch: Mapping[int, int]


def plan_memory(graph: Graph, lowered: Sequence[Lowered]) -> Memory:
    """Lay out every computed tensor and every kernel's working memory.

    A tensor lives from the operator that makes it to the last that reads it; inputs from before the first operator,
    outputs to after the last. An output that only renames its input, or may overwrite an input that nobody reads
    afterwards, shares its memory.
    """
    last = _last_uses(graph)
    roots = _roots(graph, lowered, last)
    first = _first_uses(graph)
    groups: dict[int, list[int]] = {}
    for tensor, root in roots.items():
        groups.setdefault(root, []).append(tensor)
    computed = [root for root in groups if graph.tensors[root].values is None]
    buffers = [
        Buffer(
            _names(graph, groups[root]),
            graph.tensors[root].size,
            first[root],
            max(last[member] for member in groups[root]),
        )
        for root in computed
    ]
    working = [i for i, one in enumerate(lowered) if one.scratch_bytes]
    buffers += [Buffer(f"working memory of operator {i}", lowered[i].scratch_bytes, i, i) for i in working]
    found = plan(buffers)
    places = dict(zip(computed, found.offsets, strict=False))
    return Memory(
        buffers=tuple(buffers),
        plan=found,
        offsets={tensor: places[root] for tensor, root in roots.items() if root in places},
        constants={tensor: root for tensor, root in roots.items() if root not in places},
        scratch=dict(zip(working, found.offsets[len(computed) :], strict=True)),
    )


def _names(graph: Graph, members: Sequence[int]) -> str:
    """Names of the tensors that share a place, in the order they are made."""
    return ", ".join(dict.fromkeys(graph.tensors[member].name for member in members))


def _first_uses(graph: Graph) -> dict[int, int]:
    made = dict.fromkeys(graph.inputs, -1)
    for node in graph.nodes:
        made.update(dict.fromkeys(node.outputs, node.index))
    return made


def _last_uses(graph: Graph) -> dict[int, int]:
    last = _first_uses(graph)
    for node in graph.nodes:
        last.update({i: node.index for i in node.inputs if i >= 0})
    last.update(dict.fromkeys(graph.outputs, len(graph.nodes)))
    return last


def _roots(graph: Graph, lowered: Sequence[Lowered], last: Mapping[int, int]) -> dict[int, int]:
    """Tensor → the tensor whose memory it uses; itself in most cases."""
    roots = {tensor: tensor for tensor in last}
    until = dict(last)
    for node, one in zip(graph.nodes, lowered, strict=True):
        if not node.outputs:
            continue
        output = node.outputs[0]
        shared = _shared(graph, node.index, one, roots, until) if one.kernel != NO_KERNEL else roots[node.inputs[0]]
        if shared is not None:
            roots[output] = shared
            until[shared] = max(until[shared], last[output])
    return roots


def _shared(graph: Graph, index: int, one: Lowered, roots: Mapping[int, int], until: Mapping[int, int]) -> int | None:
    """Memory that the output of an operator may overwrite, or None."""
    for candidate in one.in_place:
        root = roots[candidate]
        if graph.tensors[root].values is None and until[root] <= index:
            return root
    return None
