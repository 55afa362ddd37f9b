"use strict";
(function () {
  var data = JSON.parse(document.getElementById("page-data").textContent), box = document.getElementById("reach");
  if (!box || !data.reach) { return; }
  var lang = document.documentElement.lang, n = data.reach.customers, hits = data.reach.hits;
  function field(name) { return box.querySelector("[name=" + name + "]"); }
  function value(name) { var v = parseFloat(field(name).value); return isFinite(v) ? v : 0; }
  function profit(i) {
    var reached = Math.round(n * i / 100);
    return hits[i] * value("success") / 100 * value("value") - reached * value("cost") - (reached ? value("fixed") : 0);
  }
  function show(name, v, digits) { box.querySelector("[data-out=" + name + "]").textContent = v.toLocaleString(lang, { maximumFractionDigits: digits || 0 }); }
  function draw() {
    var i = parseInt(field("share").value, 10), best = 0, lines = [], low = 0, high = 1, j;
    var reached = Math.round(n * i / 100);
    for (j = 0; j <= 100; j++) {
      var p = profit(j);
      lines.push(p);
      if (p > lines[best]) { best = j; }
      low = Math.min(low, p); high = Math.max(high, p);
    }
    show("share", i); show("reached", reached); show("hits", hits[i]); show("wasted", reached - hits[i]);
    show("cost", reached * value("cost") + (reached ? value("fixed") : 0));
    show("gain", hits[i] * value("success") / 100 * value("value")); show("profit", lines[i]); show("best", best);
    function y(v) { return 96 - 88 * (v - low) / (high - low); }
    box.querySelector("polyline").setAttribute("points", lines.map(function (v, k) { return (4 + 5.52 * k).toFixed(1) + "," + y(v).toFixed(1); }).join(" "));
    var zero = box.querySelector("[data-line=zero]"), at = box.querySelector("[data-line=at]"), dot = box.querySelector("circle");
    zero.setAttribute("y1", y(0)); zero.setAttribute("y2", y(0));
    at.setAttribute("x1", 4 + 5.52 * i); at.setAttribute("x2", 4 + 5.52 * i);
    dot.setAttribute("cx", 4 + 5.52 * best); dot.setAttribute("cy", y(lines[best]));
  }
  box.hidden = false;
  box.addEventListener("input", draw);
  draw();
})();
