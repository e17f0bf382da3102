"""The page behind a link to answer by, as HTML: large, without script, in Chinese and English. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from zoneinfo import ZoneInfo

from dashboards.photos import TYPES
from twin.query.desk import Letter

STYLE = """
body{font:20px/1.5 system-ui,"Noto Sans CJK SC","Microsoft YaHei",sans-serif;margin:0 auto;max-width:40rem;padding:1rem;
color:#111;background:#fff}
h1{font-size:1.5rem;line-height:1.3;margin:.5rem 0}dt{color:#444;font-size:1rem}dd{margin:0 0 .6rem;
overflow-wrap:anywhere}nav{text-align:right}a{color:#00439c}
summary,button{font:inherit;font-weight:600;min-height:3rem;padding:.6rem 1rem;border:2px solid #00439c;
border-radius:.5rem;width:100%;box-sizing:border-box;cursor:pointer}
summary{color:#00439c;background:#fff;margin:.5rem 0}button{color:#fff;background:#00439c;margin:.5rem 0}
textarea,input{font:inherit;width:100%;box-sizing:border-box;padding:.5rem;border:2px solid #555;border-radius:.5rem}
label{display:block;margin:.5rem 0}input[type=checkbox]{width:1.6rem;height:1.6rem;vertical-align:middle}
input[type=file]{padding:.8rem .5rem}.note{border:3px solid #0a6b2d;padding:.6rem;border-radius:.5rem}
.trouble{border:3px solid #a30000;padding:.6rem;border-radius:.5rem}
:focus-visible{outline:4px solid #c26a00;outline-offset:2px}
"""
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

ENGLISH: dict[str, str] = {
    "page": "Answer a whistle",
    "switch": "中文",
    "case": "Case",
    "where": "Where",
    "department": "Department",
    "state": "Status",
    "deadline": "Deadline",
    "valid": "This link is good until",
    "accept": "Accept",
    "return": "Return",
    "extend": "Ask for more time",
    "handle": "Report as handled",
    "comment": "Leave a word",
    "reason": "Reason",
    "note": "What was done",
    "word": "Your words",
    "photo": "Photo (may be left out)",
    "photo_large": "The photo is too large: at most 8 MiB and 40 million pixels.",
    "photo_broken": "The photo cannot be read. Send a JPEG, PNG, WebP or HEIC picture.",
    "photo_heic": "This HEIC photo cannot be read. Set the camera to write JPEG (iPhone: Settings, Camera, Formats, "
    "Most Compatible; Android: the camera's picture format) and take it again, or send a screenshot of it.",
    "photo_full": "No more photos can be kept for this case. Send the report without one.",
    "evaluate": "Say how it was done",
    "score": "From 1 (bad) to 5 (very good)",
    "was_false": "It was a false whistle",
    "hours": "Give working hours above 0 and up to 240.",
    "hours_label": "More working hours",
    "send": "Send",
    "done": "Recorded. Thank you.",
    "nothing": "There is nothing left to answer here: the case is closed, or it is with another department.",
    "moved_on": "The case has moved on meanwhile; this step is no longer possible. Below is how it stands now.",
    "later": "It could not be recorded just now. Please send it again in a minute.",
    "broken": "The form did not arrive whole. Please send it again.",
    "too_long": "Please write at most 500 letters, without control characters.",
    "needs_reason": "Please write a few words.",
    "forged": "This link is not one of ours, or it was cut off. Open it from the message again, or call your centre.",
    "expired": "This link has expired. Ask your operation centre for a new message.",
    "used": "This link has been used too often. Ask your operation centre for a new message.",
    "too_many": "Too many calls. Please come again in a minute.",
}
CHINESE: dict[str, str] = {
    "page": "答复哨单",
    "switch": "English",
    "case": "工单",
    "where": "对象",
    "department": "部门",
    "state": "状态",
    "deadline": "期限",
    "valid": "本链接有效期至",
    "accept": "接单",
    "return": "退回",
    "extend": "申请延期",
    "handle": "报告已处置",
    "comment": "留言",
    "photo": "照片（可不传）",
    "photo_large": "照片过大：最多8 MiB、4000万像素。",
    "photo_broken": "无法读取照片，请发送JPEG、PNG、WebP或HEIC图片。",
    "photo_heic": "无法读取该HEIC照片。请将相机格式改为JPEG后重拍（iPhone：设置→相机→格式→兼容性最佳；"
    "安卓：相机设置中的照片格式），或发送该照片的截图。",
    "photo_full": "该工单的照片已达上限，请不附照片再次提交。",
    "evaluate": "评价处置结果",
    "score": "评分：1（差）到5（很好）",
    "was_false": "属于误报",
    "reason": "原因",
    "note": "处置情况",
    "word": "留言内容",
    "hours": "请填写延长的工作小时数，大于0，不超过240。",
    "hours_label": "延长工作小时数",
    "send": "提交",
    "done": "已记录，谢谢。",
    "nothing": "此处已无需答复：工单已结案，或已转给其他部门。",
    "moved_on": "工单状态已变化，无法执行此操作。当前状态如下。",
    "later": "暂时未能记录，请一分钟后重新提交。",
    "broken": "表单不完整，请重新提交。",
    "too_long": "请最多填写500字，且不含控制字符。",
    "needs_reason": "请填写说明。",
    "forged": "链接无效或不完整。请从原消息中重新打开，或联系城运中心。",
    "expired": "链接已过期，请向城运中心索取新消息。",
    "used": "链接使用次数已达上限，请向城运中心索取新消息。",
    "too_many": "访问过于频繁，请一分钟后再试。",
}
STATES: dict[str, tuple[str, str]] = {
    "found": ("found", "已发现"),
    "filed": ("filed", "已立案"),
    "dispatched": ("dispatched", "已派遣"),
    "accepted": ("accepted", "已接单"),
    "handled": ("handled", "已处置"),
    "verified": ("verified", "已核查"),
    "closed": ("closed", "已结案"),
    "evaluated": ("evaluated", "已评价"),
    "cancelled": ("cancelled", "已作废"),
}


@dataclass(frozen=True, slots=True)
class Words:
    """One language of the page."""

    language: str  # "zh" | "en"
    told: Mapping[str, str]

    @property
    def index(self) -> int:
        """Where this language stands in pairs of (English, Chinese)."""
        return 1 if self.language == "zh" else 0


@dataclass(frozen=True, slots=True)
class Form:
    """What was filled in. `nonce` names the page that it stood on: the same form twice is one answer."""

    verb: str = ""
    reason: str = ""
    hours: float = 0.0
    nonce: str = ""
    photo: bytes = b""
    score: int = 0
    false: bool = False


def words_of(wanted: str, accept_language: str) -> Words:
    """The language asked for by the switch, else the browser's best of the two, else Chinese."""
    best = wanted if wanted in ("zh", "en") else ""
    if not best:
        weights = {"zh": 0.0, "en": 0.0}
        for part in accept_language.split(",")[:20]:
            name, _, quality = part.strip().partition(";")
            language = name.strip().lower().partition("-")[0]
            if language in weights:
                weights[language] = max(weights[language], _weight(quality))
        best = "en" if weights["en"] > weights["zh"] else "zh"
    return Words(best, CHINESE if best == "zh" else ENGLISH)


def _weight(quality: str) -> float:
    """The q of an Accept-Language part; 1 for none, 0 for nonsense."""
    name, _, value = quality.strip().partition("=")
    if not name:
        return 1.0
    try:
        return min(1.0, max(0.0, float(value))) if name.strip() == "q" else 0.0
    except ValueError:
        return 0.0


def notice_page(words: Words, why: str, path: str) -> str:
    """A page that says one thing, and offers nothing."""
    switch = _switch(words, path) if path else ""
    return _frame(words, f'{switch}<h1>{words.told["page"]}</h1><p class="trouble" role="alert">{words.told[why]}</p>')


def letter_page(
    words: Words, token: str, letter: Letter, nonce: str, zone: str, *, done: bool = False, trouble: str = ""
) -> str:
    """The whistle, its state, and one form for each thing that its receiver may do."""
    told, case, index = words.told, letter.case, words.index
    facts = [
        (told["case"], case.id),
        (told["where"], letter.place[index]),
        (told["department"], letter.department[1 + index]),
        (told["state"], STATES[case.state][index]),
        (told["deadline"], _local(case.deadline_ms, zone)),
        (told["valid"], _local(letter.expires_ms, zone)),
    ]
    body = [_switch(words, f"/answer/{token}"), f"<h1>{escape(letter.title[index])}</h1>"]
    if done:
        body.append(f'<p class="note" role="status">{told["done"]}</p>')
    if trouble:
        body.append(f'<p class="trouble" role="alert">{escape(trouble)}</p>')
    body.append(f"<p>{escape(case.zh if index else case.en)}</p>")
    body.append("<dl>" + "".join(f"<dt>{k}</dt><dd>{escape(v)}</dd>" for k, v in facts if v) + "</dl>")
    body += [_form(words, token, verb, nonce) for verb in letter.offers]
    if not letter.offers:
        body.append(f"<p>{told['nothing']}</p>")
    return _frame(words, "".join(body))


def _form(words: Words, token: str, verb: str, nonce: str) -> str:
    told = words.told
    carries = ' enctype="multipart/form-data"' if verb == "handle" else ""
    head = (
        f'<form method="post" action="/answer/{escape(token)}?lang={words.language}" accept-charset="utf-8"{carries}>'
        f'<input type="hidden" name="form" value="{nonce}"><input type="hidden" name="verb" value="{verb}">'
    )
    if verb == "accept":
        return f"{head}<button>{told['accept']}</button></form>"
    what = told["note"] if verb == "handle" else told["word"] if verb in ("comment", "evaluate") else told["reason"]
    before = after = ""
    needed = "" if verb == "evaluate" else " required"
    if verb == "extend":
        before = (
            f"<label>{told['hours_label']}"
            '<input name="hours" type="number" inputmode="decimal" min="0.5" max="240" step="0.5" required></label>'
        )
    if verb == "evaluate":
        before = (
            f"<label>{told['score']}"
            '<input name="score" type="number" inputmode="numeric" min="1" max="5" step="1" required></label>'
            f'<label><input name="false" type="checkbox" value="yes"> {told["was_false"]}</label>'
        )
    if verb == "handle":
        after = f'<label>{told["photo"]}<input name="photo" type="file" accept="{TYPES}"></label>'
    return (
        f"<details><summary>{told[verb]}</summary>{head}{before}<label>{what}"
        f'<textarea name="reason" rows="3" maxlength="500"{needed}></textarea></label>{after}'
        f"<button>{told['send']}</button></form></details>"
    )


def _switch(words: Words, path: str) -> str:
    other = "en" if words.language == "zh" else "zh"
    return f'<nav><a href="{escape(path)}?lang={other}" lang="{other}">{words.told["switch"]}</a></nav>'


def _local(at_ms: int, zone: str) -> str:
    if at_ms <= 0:
        return ""
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M")


def _frame(words: Words, body: str) -> str:
    language = "zh-CN" if words.language == "zh" else "en"
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{words.told['page']}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>"
    )
