(function () {
  document.querySelectorAll(".items").forEach(function (list) {
    var cards = Array.prototype.slice.call(list.querySelectorAll(":scope > details"));
    var tasks = [], bar = document.createElement("div"), told = document.createElement("small");
    cards.forEach(function (c) { if (tasks.indexOf(c.dataset.task) < 0) tasks.push(c.dataset.task); });
    bar.className = "tabs";
    function choice(label, options) {
      var select = document.createElement("select");
      select.setAttribute("aria-label", label);
      options.forEach(function (o) {
        var option = document.createElement("option");
        option.value = o[0];
        option.textContent = o[1];
        select.appendChild(option);
      });
      select.addEventListener("change", apply);
      bar.appendChild(select);
      return select;
    }
    var states = [["", "right and wrong"], ["right", "right"], ["wrong", "wrong"]];
    if (+list.dataset.models > 1) states.push(["disagree", "models disagree"]);
    var task = choice("task", [["", "all tasks"]].concat(tasks.map(function (t) { return [t, t]; })));
    var state = choice("answer", states);
    var words = document.createElement("input");
    words.type = "search";
    words.placeholder = "text";
    words.setAttribute("aria-label", "text");
    words.addEventListener("input", apply);
    bar.appendChild(words);
    bar.appendChild(told);
    function apply() {
      var shown = 0, text = words.value.toLowerCase();
      cards.forEach(function (c) {
        var fits = (!task.value || c.dataset.task === task.value) &&
          (!state.value || (state.value === "disagree" ? c.dataset.disagree : c.dataset.state === state.value)) &&
          (!text || c.textContent.toLowerCase().indexOf(text) >= 0);
        c.hidden = !fits;
        if (fits) shown += 1;
      });
      told.textContent = shown + " of " + cards.length + " shown";
    }
    list.insertBefore(bar, list.firstChild);
    apply();
  });
})();
