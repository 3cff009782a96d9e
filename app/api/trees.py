"""A search tree as JSON, and as text for a terminal. Pure."""

from collections.abc import Sequence
from typing import Any

from app.money import to_usd
from app.solve.deliberation import DRAFT, PASS
from app.solve.tree import TreeNode

ANSWER_SHOWN_MAX = 60


def tree_document(solve_id: str, nodes: Sequence[TreeNode]) -> dict[str, Any]:
    """The nodes in order of telling; node 0 is the root, the problem itself."""
    return {
        "object": "tree",
        "solve": solve_id,
        "nodes": [
            {
                "node": node.id,
                "parent": node.parent,
                "parents": list(node.parents),
                "depth": node.depth,
                "op": node.op,
                "inherited_from": node.inherited_from,
                "expert": node.expert,
                "score": node.score,
                "cost_usd": to_usd(node.cost),
                "input_tokens": node.input_tokens,
                "output_tokens": node.output_tokens,
                "choice": _choice(node),
                "answer": node.answer,
                "text": node.text,
            }
            for node in nodes
        ],
    }


def _choice(node: TreeNode) -> dict[str, Any]:
    """Why there is this node: it went wider or deeper, how likely that was, and in words.

    A node that was there before the search began was chosen by the gate, and says so.
    """
    return {
        "action": _action(node),
        "propensity": node.propensity,
        "p_wider": node.widen,
        "because": _because(node),
    }


def _action(node: TreeNode) -> str:
    if node.op.startswith("gate."):
        return "given"
    if node.op.startswith((DRAFT, PASS)):
        return "deliberated" if node.parents else "drafted"
    return "deeper" if node.parent else "wider"


def _because(node: TreeNode) -> str:
    match _action(node):
        case "given":
            return "the gate had paid for this answer before the search began"
        case "drafted":
            return "asked for an answer that knows of no other"
        case "deliberated":
            return f"asked for an answer by one that has read {len(node.parents)} before it"
        case "deeper":
            did = f"refined node {node.parent}"
        case _:
            did = "asked for a fresh answer"
    if node.widen is None:
        return f"{did}: there was nothing to weigh it against"
    return f"{did}: going wider here had a chance of {node.widen:.0%}"


def tree_text(nodes: Sequence[TreeNode]) -> str:
    """The tree drawn with lines, one node a row: score, expert, cost, answer."""
    children: dict[int, list[TreeNode]] = {}
    for node in nodes:
        children.setdefault(node.parent, []).append(node)
    rows = ["problem"]
    # A stack and not recursion: a chain may be as deep as the search was long.
    stack = [(node, "", last) for node, last in _marked(children.get(0, []))]
    while stack:
        node, indent, last = stack.pop()
        rows.append(f"{indent}{'└─' if last else '├─'} {_row(node)}")
        below = indent + ("   " if last else "│  ")
        stack.extend((child, below, end) for child, end in _marked(children.get(node.id, [])))
    return "\n".join(rows) + "\n"


def _marked(siblings: list[TreeNode]) -> list[tuple[TreeNode, bool]]:
    # Reversed for the stack; the last sibling draws the corner.
    return [(node, node is siblings[-1]) for node in reversed(siblings)]


def _row(node: TreeNode) -> str:
    answer = "(erased)" if node.text is None else (node.answer or "(no answer found)")
    shown = answer if len(answer) <= ANSWER_SHOWN_MAX else answer[: ANSWER_SHOWN_MAX - 1] + "…"
    if len(node.parents) > 1:
        shown += f"  (read {len(node.parents)})"
    score = "  -  " if node.score is None else f"{node.score:.3f}"
    return f"{node.id}  {score}  {node.expert}  ${to_usd(node.cost)}  {shown}"
