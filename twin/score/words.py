"""The sentence that tells why a row is surprising, in English or Chinese."""

from __future__ import annotations

from twin.score.evidence import EVIDENCE

NOTHING = 1e-9  # of the value or its scale: what rounding leaves of a zero
_EN = {
    "spike": "jumps: it reads {x} where its last values imply about {e} ± {s}",
    "level": "leaves its usual level: it reads {x}, usually {e} ± {s}",
    "noise": "is much noisier or calmer than usual (now {x}, usually {e} ± {s})",
    "stuck": "repeats the value {x} unusually long",
    "shape": "moves in a way that its usual courses do not (now {x}, expected {e} ± {s})",
    "pattern": "shows a course that was not seen before (now {x}, expected {e} ± {s})",
    "sisters": "departs from what the other columns imply (now {x}, usually {e} ± {s})",
}
_ZH = {
    "spike": "突跳:读数{x},按最近读数应约为{e}±{s}",
    "level": "偏离常态:读数{x},通常为{e}±{s}",
    "noise": "波动明显异于平时(现为{x},通常{e}±{s})",
    "stuck": "长时间停在{x}不变",
    "shape": "变化形态异于平时(现为{x},预期{e}±{s})",
    "pattern": "出现从未见过的走势(现为{x},预期{e}±{s})",
    "sisters": "与其他列的关系异常(现为{x},通常{e}±{s})",
}


def reason(name: str, evidence: int, x: float, expected: float, spread: float, chinese: bool) -> str:
    """Why a column's value is surprising. `evidence`: index into EVIDENCE; `spread` is one robust scale."""
    expected = 0.0 if abs(expected) < NOTHING * max(abs(x), spread) else expected
    words = (_ZH if chinese else _EN)[EVIDENCE[evidence]]
    told = words.format(x=f"{x:.4g}", e=f"{expected:.4g}", s=f"{2.0 * spread:.2g}")
    return f"{name}{told}" if chinese else f"{name} {told}"
