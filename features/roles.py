"""Which file is which table and which column is which: guesses by name and by content, said aloud and never used in silence."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from features.contracts import COLUMNS
from features.errors import ContractError
from features.parsing import fitting_formats, number_forms
from features.reading import delimiter_of, ending_of, looks_like, sample_text

_SAMPLE_ROWS = 2000
# How people call the contract's columns, in English and Chinese; compared without case, spaces and marks. The first match wins.
NAMES: dict[str, tuple[str, ...]] = {
    "customer_id": (
        "customerid", "customer", "clientid", "client", "userid", "user", "uid", "memberid", "memberno", "member", "membercard", "accountid", "shopperid", "buyerid", "personid",
        "household", "householdid", "会员编号", "会员号", "会员id", "会员", "会员卡号", "客户编号", "客户id", "客户号", "客户",
        "用户编号", "用户id", "用户", "顾客编号", "顾客id", "买家id", "手机号"),
    "event_at": (
        "eventat", "eventtime", "timestamp", "time", "datetime", "date", "orderdate", "ordertime", "purchasedate", "purchasetime", "invoicedate", "paytime", "paidat", "createdat",
        "transactiondate", "transactiontime",
        "下单时间", "支付时间", "付款时间", "交易时间", "订单时间", "购买时间", "消费时间", "发生时间", "事件时间", "触达时间", "时间", "日期", "下单日期", "交易日期"),
    "kind": ("kind", "event", "eventtype", "eventname", "type", "action", "behavior", "behaviour", "事件", "事件类型", "行为", "行为类型", "动作", "类型"),
    "amount": (
        "amount", "total", "revenue", "sales", "salesvalue", "spend", "paid", "payment", "price", "ordervalue", "ordertotal",
        "实付金额", "支付金额", "消费金额", "订单金额", "成交金额",
        "金额", "销售额", "实付"),
    "discount": ("discount", "discountamount", "优惠金额", "折扣金额", "折扣"),
    "currency": ("currency", "currencycode", "币种", "货币"),
    "category": ("category", "productcategory", "department", "categorycode", "品类", "类目", "商品类目", "类别", "分类", "商品分类"),
    "brand": ("brand", "manufacturer", "品牌"),
    "quantity": ("quantity", "qty", "units", "count", "数量", "件数"),
    "item_id": ("itemid", "item", "sku", "skuid", "productid", "product", "stockcode", "商品编号", "商品id", "货号", "商品", "sku编号"),
    "session_id": ("sessionid", "session", "orderid", "orderno", "basketid", "invoiceno", "invoice", "receipt", "订单编号", "订单号", "小票号", "会话编号", "会话id"),
    "event_id": ("eventid", "id", "rowid", "lineid", "transactionid", "流水号", "事件编号", "记录编号", "编号"),
    "channel": ("channel", "source", "medium", "渠道", "触点", "来源"),
    "campaign_id": ("campaignid", "campaign", "offerid", "offer", "couponid", "活动编号", "活动id", "活动", "优惠编号", "优惠id", "优惠券编号"),
    "valid_from": (
        "validfrom", "becamememberon", "registeredat", "registrationdate", "signupdate", "signedup", "joined", "joindate", "membersince", "注册时间", "注册日期", "入会时间",
        "入会日期", "开卡日期", "加入日期"),
    "consent_marketing": ("consentmarketing", "marketingconsent", "optin", "newsletter", "同意营销", "营销同意"),
    "consent_profiling": ("consentprofiling", "profilingconsent", "同意画像"),
    "erased_at": ("erasedat", "deletedat", "注销时间"),
    "start_at": ("startat", "startdate", "start", "begin", "开始时间", "开始日期"),
    "end_at": ("endat", "enddate", "end", "expires", "结束时间", "结束日期"),
}
# What a kind of event is called, and the contract's word for it.
KINDS: dict[str, tuple[str, ...]] = {
    "purchase": ("purchase", "buy", "bought", "order", "ordered", "transaction", "sale", "paid", "购买", "下单", "支付", "消费", "成交", "交易"),
    "return": ("return", "returned", "refund", "退货", "退款"),
    "campaign_received": ("campaignreceived", "offerreceived", "received", "sent", "emailsent", "smssent", "pushsent",
        "收到优惠", "收到活动", "收到", "发送", "推送", "触达", "发券"),
    "coupon_redemption": ("couponredemption", "couponredeemed", "redeemed", "redemption", "核销", "用券", "优惠券核销", "使用优惠券"),
    "visit": ("visit", "pageview", "view", "sessionstart", "访问", "浏览"),
}
_SENSITIVE = ("gender", "sex", "age", "birth", "religion", "race", "ethnic", "health", "性别", "年龄", "生日", "出生", "民族", "宗教", "健康")


@dataclass(frozen=True)
class Guess:
    """One column: the contract's name for it (or an attribute's own), why, and whether that is sure."""

    column: str
    role: str
    why: str
    is_sure: bool = True


@dataclass
class FileGuess:
    """One file: its table (empty if it cannot be told), its columns, and how it writes what could be read in two ways."""

    path: Path
    table: str
    why: str
    delimiter: str = ","
    encoding: str = ""
    columns: list[Guess] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    constants: dict[str, str] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    formats: list[str] = field(default_factory=list)
    numbers: list[tuple[str, str]] = field(default_factory=list)
    sensitive: list[str] = field(default_factory=list)


def guesses(folder: Path) -> list[FileGuess]:
    """A guess for every file of a folder that can be read, in order of name."""
    return [_guess(path) for path in sorted(folder.iterdir()) if path.is_file() and ending_of(path) and not path.name.startswith(".")]


def _guess(path: Path) -> FileGuess:
    delimiter, encoding, header, rows = _sample(path)
    values = {name: [row[i].strip() for row in rows if i < len(row) and row[i].strip()] for i, name in enumerate(header)}
    roles = _roles(header, values)
    table, why = _table(roles, values, len(rows))
    made = FileGuess(path, table, why, delimiter, encoding)
    if not table:
        made.left = header
        return made
    if table == "customers" and "event_at" in roles and "valid_from" not in roles:
        roles["valid_from"] = Guess(roles["event_at"].column, "valid_from", "the only date of a person", False)
    known = {*COLUMNS[table], *(("amount", "discount", "currency") if table == "events" else ())}
    made.columns = [guess for role, guess in roles.items() if role in known]
    taken = {guess.column for guess in made.columns}
    rest = [name for name in header if name not in taken]
    if table == "customers":
        # Whatever else is said of a person is an attribute, unless it names the person.
        for name in rest:
            if len(set(values[name])) > 0.5 * max(len(values[name]), 1) and len(values[name]) > 20:
                made.left.append(name)
            else:
                made.columns.append(Guess(name, _attribute(name), "an attribute of customers"))
                if any(word in _folded(name) for word in _SENSITIVE):
                    made.sensitive.append(_attribute(name))
    else:
        made.left = rest
    _forms(made, roles, values)
    return made


def _sample(path: Path) -> tuple[str, str, list[str], list[list[str]]]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = next(pq.ParquetFile(path).iter_batches(_SAMPLE_ROWS))
        columns = [["" if value is None else str(value) for value in column.to_pylist()] for column in table.columns]
        return ",", "", table.schema.names, [list(row) for row in zip(*columns, strict=True)]
    encoding = looks_like(path)
    delimiter = delimiter_of(path, encoding)
    lines = list(csv.reader(io.StringIO(sample_text(path, encoding)), delimiter=delimiter))
    if not lines:
        raise ContractError(f"{path.name} needs a header line, found an empty file; export it again or take it out of the folder")
    return delimiter, encoding, [name.strip() for name in lines[0]], [row for row in lines[1:_SAMPLE_ROWS + 1] if row]


def _folded(name: str) -> str:
    return re.sub(r"[\s_\-./()（）:：#]+", "", name).lower()


def _roles(header: Sequence[str], values: dict[str, list[str]]) -> dict[str, Guess]:
    """The contract's columns among these: by their names, where what stands in them fits."""
    fits: dict[str, Callable[[list[str]], bool]] = {
        "event_at": _are_times, "valid_from": _are_times, "start_at": _are_times, "end_at": _are_times, "erased_at": _are_times, "amount": _are_numbers, "discount": _are_numbers,
        "quantity": _are_numbers}
    found: dict[str, Guess] = {}
    for role, names in NAMES.items():
        ranked = [(names.index(_folded(name)), name) for name in header if _folded(name) in names and name not in {guess.column for guess in found.values()}]
        for _, name in sorted(ranked):
            if role not in fits or fits[role](values[name]):
                found[role] = Guess(name, role, "by its name")
                break
    taken = {guess.column for guess in found.values()}
    if "event_at" not in found:
        times = [name for name in header if name not in taken and values[name] and _are_times(values[name])]
        if len(times) == 1 and "valid_from" not in found:
            found["event_at"] = Guess(times[0], "event_at", "the only column of times", False)
    if "event_id" in found and len(set(values[found["event_id"].column])) < len(values[found["event_id"].column]):
        # A number that comes again counts something else than lines: an order.
        again = found.pop("event_id")
        if "session_id" not in found and "order" in _folded(again.column):
            found["session_id"] = Guess(again.column, "session_id", "its numbers come again", False)
    return found


def _are_times(values: list[str]) -> bool:
    if not values:
        return False

    def is_iso(text: str) -> bool:
        try:
            return bool(datetime.fromisoformat(text)) and not text.isdigit()
        except ValueError:
            return False

    return all(map(is_iso, values)) or bool(fitting_formats(values))


def _are_numbers(values: list[str]) -> bool:
    return bool(values) and bool(number_forms(values))


def _table(roles: dict[str, Guess], values: dict[str, list[str]], n_rows: int) -> tuple[str, str]:
    """Which table such columns make, and why."""
    if "customer_id" in roles:
        ids = values[roles["customer_id"].column]
        if len(set(ids)) == len(ids) and "amount" not in roles and "kind" not in roles:
            return "customers", "one row for each customer"
        if "event_at" in roles:
            return "events", "customers at moments"
        return "", "customers come more than once, but no column of times was found"
    if "campaign_id" in roles and "start_at" in roles and "end_at" in roles:
        return "campaigns", "campaigns with beginning and end"
    if "item_id" in roles and ("category" in roles or "brand" in roles):
        return "items", "goods with their category or brand"
    return "", "no column was found that names the customer"


def _attribute(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip()).strip("_").lower() or "attribute"


def _forms(made: FileGuess, roles: dict[str, Guess], values: dict[str, list[str]]) -> None:
    """How times and numbers are written, and which kinds of events there are."""
    times = [values[guess.column] for role, guess in roles.items() if role in ("event_at", "valid_from", "start_at", "end_at") and guess in made.columns]
    if times and not all(re.match(r"\d{4}-\d\d-\d\d", text) for column in times for text in column):
        made.formats = fitting_formats([text for column in times for text in column])
    money = [text for role in ("amount", "discount", "quantity") if role in roles for text in values[roles[role].column]]
    if money and (forms := number_forms(money)) and forms[0] != (".", ""):
        made.numbers = forms
    if made.table != "events":
        return
    if "kind" not in roles:
        made.constants = {"kind": "purchase" if "amount" in roles or "quantity" in roles else "visit"}
        return
    kinds = sorted(set(values[roles["kind"].column]))
    mapping = {kind: word for kind in kinds for word, names in KINDS.items() if _folded(kind) in names and kind != word}
    if mapping:
        made.values = {"kind": mapping}
