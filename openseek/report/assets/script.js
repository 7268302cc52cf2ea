(function () {
  "use strict";
  var tip = document.getElementById("tip");
  function show(event, nodes) {
    tip.replaceChildren.apply(tip, nodes);
    tip.style.display = "block";
    var x = event.clientX + 14, y = event.clientY + 16, box = tip.getBoundingClientRect();
    if (x + box.width > innerWidth - 8) x = Math.max(8, event.clientX - box.width - 14);
    if (y + box.height > innerHeight - 8) y = event.clientY - box.height - 12;
    tip.style.left = x + "px";
    tip.style.top = y + "px";
  }
  function hide() { tip.style.display = "none"; }
  function row(text, bold) {
    var div = document.createElement("div"), part = document.createElement(bold ? "b" : "span");
    part.textContent = text;
    div.appendChild(part);
    return div;
  }
  document.querySelectorAll("[data-tip]").forEach(function (mark) {
    var title = mark.querySelector("title");
    if (title) title.remove();
    mark.addEventListener("pointermove", function (e) { show(e, [row(mark.dataset.tip)]); });
    mark.addEventListener("pointerleave", hide);
  });
  document.querySelectorAll("svg[data-hover]").forEach(function (svg) {
    var data = JSON.parse(svg.dataset.hover), cross = null;
    if (!data.s.length) return;
    svg.addEventListener("pointermove", function (e) {
      var x = (e.clientX - svg.getScreenCTM().e) / svg.getScreenCTM().a, best = null, lines = [];
      data.s.forEach(function (s) {
        var near = s.p[0];
        s.p.forEach(function (p) { if (Math.abs(p[0] - x) < Math.abs(near[0] - x)) near = p; });
        if (Math.abs(near[0] - x) > 24) return;
        if (!best || Math.abs(near[0] - x) < Math.abs(best[0] - x)) best = near;
        lines.push(row((s.n ? s.n + ": " : "") + near[3]));
      });
      if (!best) { if (cross) cross.style.display = "none"; return hide(); }
      if (!cross) {
        cross = document.createElementNS("http:" + "//www.w3.org/2000/svg", "line");
        cross.setAttribute("class", "cross");
        cross.setAttribute("y1", 22);
        cross.setAttribute("y2", svg.viewBox.baseVal.height - 42);
        svg.appendChild(cross);
      }
      cross.style.display = "";
      cross.setAttribute("x1", best[0]);
      cross.setAttribute("x2", best[0]);
      show(e, [row(best[2] + " " + data.x, true)].concat(lines));
    });
    svg.addEventListener("pointerleave", function () {
      hide();
      if (cross) cross.style.display = "none";
    });
  });
  document.querySelectorAll(".dag svg").forEach(function (svg) {
    svg.querySelectorAll("g.node").forEach(function (node) {
      node.addEventListener("pointerenter", function () {
        var name = node.dataset.step;
        svg.classList.add("hot");
        node.classList.add("on");
        svg.querySelectorAll(".edge").forEach(function (edge) {
          if (edge.dataset.from !== name && edge.dataset.to !== name) return;
          edge.classList.add("on");
          var other = edge.dataset.from === name ? edge.dataset.to : edge.dataset.from;
          svg.querySelectorAll("g.node").forEach(function (n) {
            if (n.dataset.step === other) n.classList.add("on");
          });
        });
      });
      node.addEventListener("pointerleave", function () {
        svg.classList.remove("hot");
        svg.querySelectorAll(".on").forEach(function (n) { n.classList.remove("on"); });
      });
    });
  });
  document.querySelectorAll("[data-tabs]").forEach(function (group) {
    var panes = Array.prototype.slice.call(group.querySelectorAll(":scope > [data-pane]"));
    var bar = document.createElement("div");
    bar.className = "tabs";
    panes.forEach(function (pane, i) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = pane.dataset.pane;
      button.addEventListener("click", function () { pick(i); });
      bar.appendChild(button);
    });
    function pick(i) {
      panes.forEach(function (pane, j) { pane.hidden = i !== j; });
      Array.prototype.forEach.call(bar.children, function (b, j) { b.className = i === j ? "on" : ""; });
    }
    group.insertBefore(bar, group.firstChild);
    pick(panes.length - 1);
  });
  var links = {}, sections = document.querySelectorAll("main > section[id]");
  document.querySelectorAll("nav a").forEach(function (a) { links[a.hash.slice(1)] = a; });
  if ("IntersectionObserver" in window) {
    var seen = new IntersectionObserver(function (entries) {
      entries.forEach(function (entry) {
        if (!entry.isIntersecting) return;
        Object.keys(links).forEach(function (id) { links[id].classList.toggle("on", id === entry.target.id); });
      });
    }, { rootMargin: "-10% 0px -80% 0px" });
    sections.forEach(function (s) { seen.observe(s); });
  }
  addEventListener("beforeprint", function () {
    document.querySelectorAll("[data-pane]").forEach(function (p) { p.hidden = false; });
  });
})();
