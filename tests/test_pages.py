"""The pages of whole runs: every number from the run, offline, safe, readable on a telephone, and a slider that counts right."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from markupsafe import escape

from serving import words as words_module
from serving.task_page import reached

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NUMBER = re.compile(r"(?<!\d)[+-]?\d[\d,]*(?:\.\d+)?|\d+")
RIGHT_TO_LEFT = "\u202e"
ODD = ["=HYPERLINK(\"x\")", "<script>alert(1)</script>", "😀 \"quoted\"", f"שלום{RIGHT_TO_LEFT} & co", "北京"]


@pytest.fixture(scope="session")
def odd(folder_of, whole_path, tmp_path_factory):
    """A small shop whose attributes hold markup, formulas, emoji and right-to-left marks."""
    draw = np.random.default_rng(8)
    events, customers = [], []
    for customer in range(900):
        # Where a customer lives tells how soon they leave, so that the page speaks of it.
        city = customer % len(ODD)
        day, leaves = draw.uniform(0, 220), draw.exponential([12, 25, 60, 150, 400][city])
        customers.append({"customer_id": f"c{customer}", "valid_from": "2025-01-01 00:00:00", "city": ODD[city]})
        end = min(300, day + leaves)
        while day <= end:
            moment = np.datetime64("2025-01-01T08:00:00") + np.timedelta64(int(day * 86400), "s")
            events.append({"customer_id": f"c{customer}", "event_at": str(moment).replace("T", " "), "amount": f"{draw.uniform(2, 60):.2f}"})
            day += draw.exponential(8.0)
    folder = folder_of(events, declared="[tasks.churn]\nhorizon_days = 21\nactive_days = 42\nlookbacks_days = [21, 42]\n", customers=customers)
    return whole_path(folder, tmp_path_factory.mktemp("odd") / "run", trials=1)


RUNS = ["grocer", "retail", "odd"]


class Page(HTMLParser):
    """Links, tags, the data, the scripts, and the text that a reader sees, without the ticks of axes."""

    def __init__(self, source):
        super().__init__()
        self.links, self.tags, self.text, self.scripts, self._stack = [], [], [], [], []
        self.feed(source)
        self.data = next((json.loads(text) for kind, text in self.scripts if kind == "application/json"), None)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs.items() if name in ("src", "href")]
        if tag not in ("meta", "input", "br", "line", "rect", "circle", "polyline"):
            self._stack.append((tag, attrs))

    def handle_startendtag(self, tag, attrs):
        """A tag that is closed at once holds nothing, and closes nothing that holds it."""
        before = list(self._stack)
        self.handle_starttag(tag, attrs)
        self._stack = before

    def handle_endtag(self, tag):
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, text):
        tags = [tag for tag, _ in self._stack]
        if "script" in tags:
            self.scripts.append((dict(self._stack[-1][1]).get("type"), text))
        elif "style" not in tags and not any(attrs.get("class") == "axis" for _, attrs in self._stack):
            self.text.append(text)


def pages_of(run, *, with_cards=True):
    summary, _, folder = run
    assert summary["reports"]
    return {name: (folder / name).read_text(encoding="utf-8") for name in summary["reports"] if with_cards or ".card." not in name}


def facts(value):
    """Every number in a page's data, also those inside its texts."""
    if isinstance(value, dict):
        return set().union(*map(facts, value.values()), *map(facts, value))
    if isinstance(value, list):
        return set().union(*map(facts, value))
    if isinstance(value, str):
        return {float(number.replace(",", "")) for number in NUMBER.findall(value)}
    return {float(value)} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def written(numbers):
    """Each number as it may be written: with up to four decimals, also in percent, also as a distance."""
    forms = set()
    for number in numbers:
        for value in (number, 100 * number):
            for digits in range(5):
                forms.add(f"{abs(value):.{digits}f}")
    return forms


def strangers(text, data, language):
    """Numbers of a text that neither the data nor the fixed words hold."""
    fixed = NUMBER.findall(re.sub(r"\{.*?\}", "", (words_module._FOLDER / f"{language}.toml").read_text(encoding="utf-8")))
    known = written(facts(data)) | {number.lstrip("+-") for number in fixed}
    return [number for number in NUMBER.findall(text) if not {plain(number), number.lstrip("+-")} & known]


def is_of_base(file):
    return file.split("/")[-1].split(".")[0] in ("portrait", "touchpoints")


def plain(number):
    digits = number.lstrip("+-").replace(",", "")
    return digits if "." in digits else str(int(digits))


@pytest.mark.parametrize("name", RUNS)
def test_every_number_that_a_reader_sees_is_in_the_pages_data(name, request):
    for file, source in pages_of(request.getfixturevalue(name), with_cards=False).items():
        page, language = Page(source), file.split(".")[-2]
        if page.data is None:
            assert "index" in file
            continue
        if is_of_base(file):  # tests/serving/test_base_pages.py
            continue
        text = " ".join(page.text)
        # What is no figure: the name of the model with its fingerprint, and the licence.
        text = re.sub(re.escape(page.data["card"]["fingerprint"][:12]), "", text).replace(html.unescape(page.data["card"]["licence"]), "")
        assert strangers(text, page.data, language) == [], file
        assert len(NUMBER.findall(text)) > 100
        assert strangers(f"{text} 31.4159 271,828", page.data, language) == ["31.4159", "271,828"]


@pytest.mark.parametrize("name", RUNS)
def test_pages_open_offline_and_link_to_each_other(name, request):
    run = request.getfixturevalue(name)
    for file, source in pages_of(run).items():
        page = Page(source)
        assert len(source.encode()) < 2 * 2**20
        assert "default-src 'none'" in source
        assert page.links or ".card." in file
        for link in page.links:
            assert (run[2] / "reports" / link).exists(), link
        assert [kind for kind, _ in page.scripts] in ([], ["application/json"], ["application/json", None])
        assert not re.search(r"https?://|url\(|@import", re.sub(r"<script.*?</script>", "", source, flags=re.S)), file


def test_all_three_answers_have_a_page_in_both_languages_and_a_card(grocer):
    names = {f"reports/{task}.{kind}.html" for task in ("churn", "conversion", "lookalike") for kind in ("en", "zh", "card")}
    of_all = {f"reports/{page}.{language}.html" for page in ("index", "portrait", "touchpoints") for language in ("en", "zh")}
    assert names | of_all == set(grocer[0]["reports"])


def test_the_numbers_in_a_report_are_the_runs(grocer):
    summary, _, run = grocer
    churn, alike = summary["tasks"]["churn"], summary["tasks"]["lookalike"]
    text = (run / "reports" / "churn.en.html").read_text(encoding="utf-8")
    for number in (f"{churn['auc']:.3f}", f"{churn['rule']['auc']:.3f}", f"{churn['gain_over_rule']['auc']:+.3f}", f"{churn['test_rows']:,}",
                   f"{100 * churn['mean_predicted']:.1f}%", f"{100 * churn['ece']:.1f}%", churn["test_as_of"][0][:10]):
        assert number in text
    text = (run / "reports" / "lookalike.en.html").read_text(encoding="utf-8")
    for number in (f"{alike['lift_at_10']:.2f}", f"{alike['rule']['lift_at_10']:.2f}", f"{alike['random_seed_lift']:.2f}", f"{alike['seeds']:,}"):
        assert number in text


def test_what_the_data_say_is_shown_and_never_run(odd):
    pages = pages_of(odd)
    assert any(str(escape(ODD[1])) in source for source in pages.values()), "the page must show a city for this test to mean something"
    for source in pages.values():
        assert "<script>alert" not in source
        visible = re.sub(r"<script.*?</script>", "", source, flags=re.S)
        for i in [match.start() for match in re.finditer(RIGHT_TO_LEFT, visible)]:
            assert visible.rfind("<bdi>", 0, i) > visible.rfind("</bdi>", 0, i), "a right-to-left mark must not turn what follows it"


@pytest.fixture(scope="session")
def chromium(need, tmp_path_factory):
    """A function: page and switches -> what Chromium printed: the page after its script ran, and the console."""
    browser = need(shutil.which("chromium") or "/usr/bin/chromium", "install Debian's package chromium: apt-get install chromium fonts-noto-cjk")
    profile = tmp_path_factory.mktemp("chromium")

    def show(page, *switches):
        return subprocess.run(
            [str(browser), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars", f"--user-data-dir={profile}",
             "--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000", *switches, page.resolve().as_uri()], check=True, capture_output=True, text=True, timeout=120)

    return show


def test_no_page_complains_and_the_slider_counts_as_the_run_does(grocer, chromium):
    for file in pages_of(grocer):
        done = chromium(grocer[2] / file, "--dump-dom")
        assert "CONSOLE" not in done.stderr, (file, done.stderr[-2000:])
        page = Page(done.stdout)
        if page.data is None or is_of_base(file) or "hits" not in (page.data["reach"] if isinstance(page.data["reach"], dict) else {}):
            continue
        shown = {name: float(text.replace(",", "")) for name, text in re.findall(r'data-out="(\w+)"[^>]*>([^<]+)<', done.stdout)}
        n, hits = page.data["reach"]["customers"], page.data["reach"]["hits"]

        def profit(share, n=n, hits=hits):
            return hits[share] * 0.10 * 50 - reached(n, share) * 1

        assert shown["reached"] == reached(n, 20)
        assert shown["hits"] == pytest.approx(hits[20], abs=0.51)
        assert shown["wasted"] == pytest.approx(reached(n, 20) - hits[20], abs=0.51)
        assert shown["profit"] == pytest.approx(profit(20), abs=0.51)
        assert shown["best"] == max(range(101), key=profit)


def test_a_page_that_tries_more_than_its_script_is_stopped(grocer, chromium, tmp_path):
    """The guard of the test above: the policy forbids another script, and the console says so."""
    source = (grocer[2] / "reports" / "churn.en.html").read_text(encoding="utf-8")
    (tmp_path / "odd.html").write_text(source.replace("</main>", "<script>document.title = 'taken'</script><img src='http://127.0.0.1:9/x.png'></main>"), encoding="utf-8")
    done = chromium(tmp_path / "odd.html", "--dump-dom")
    assert "CONSOLE" in done.stderr and "<title>taken" not in done.stdout


@pytest.mark.parametrize("name", ["grocer", "odd"])
def test_a_page_fits_a_telephone(name, request, chromium, tmp_path):
    """Only tables may scroll, inside their own frames. A page inside a frame of 390 px is measured."""
    for file, source in pages_of(request.getfixturevalue(name)).items():
        frame = (
            f'<meta charset="utf-8"><iframe srcdoc="{html.escape(source)}" style="width:390px;height:800px;border:0"></iframe>'
            "<script>onload = () => { const root = document.querySelector('iframe').contentDocument.documentElement;"
            " document.title = root.scrollWidth + ' ' + root.scrollHeight }</script>")
        (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
        width, height = re.search(r"<title>(\d+) (\d+)</title>", chromium(tmp_path / "frame.html", "--dump-dom").stdout).groups()
        assert int(width) <= 390 and int(height) > 300, (file, width)


@pytest.mark.parametrize("width", [1000, 420])
def test_a_report_shows_in_a_browser(width, grocer, chromium, tmp_path):
    from PIL import Image

    for report in pages_of(grocer):
        picture = tmp_path / "page.png"
        chromium(grocer[2] / report, f"--window-size={width},1600", f"--screenshot={picture}")
        with Image.open(picture) as image:
            shades = image.convert("L").getcolors()
        # Ink on paper: mostly white, and text and charts in many shades.
        assert len(shades) > 60
        assert max(n for n, _ in shades) < 0.99 * 1600 * max(width, 420)
