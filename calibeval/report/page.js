"use strict";
const all = (query, node = document) => [...node.querySelectorAll(query)];

document.body.classList.add("live");

for (const list of all("[role=tablist]")) {
  const tabs = all("[role=tab]", list);
  const pick = (chosen) => tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", i === chosen);
    tab.tabIndex = i === chosen ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = i !== chosen;
  });
  tabs.forEach((tab, i) => { tab.onclick = () => pick(i); });
  list.onkeydown = (event) => {
    const here = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    tabs.at(to % tabs.length).focus();
    pick(tabs.indexOf(document.activeElement));
  };
  list.hidden = false;
  pick(0);
}

for (const box of all("[data-cases]")) {
  const { methods, cases, states, rows } = JSON.parse(all("script", box)[0].textContent);
  const body = all("tbody", box)[0], [find, only] = all("input, select", box), more = all(".more", box)[0];
  const heads = all("th button", box), first = body.rows.length, step = Math.max(first, 50);
  let column = -1, down = 1, shown = first;
  const cells = ([m, c, s, ...numbers]) => [methods[m].name, cases[c], ...numbers, states[s]];
  const value = (row, i) => {
    const text = cells(row)[i];
    if (i < 2 || i === row.length - 1) return text;
    return text === "" ? NaN : +text.replace("inf", "Infinity");
  };
  const order = (a, b) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (x !== x || y !== y) return (x !== x) - (y !== y);
    return down * (x < y ? 1 : x > y ? -1 : 0);
  };
  const line = (row) => {
    const made = document.createElement("tr");
    made.append(...cells(row).map((text, i) => {
      const cell = document.createElement(i === 1 ? "th" : "td"), name = document.createElement("bdi");
      if (i < 2 || i === row.length - 1) cell.className = i === 1 ? "name" : "text";
      if (i === 1) cell.scope = "row";
      name.textContent = text === "" && i < row.length - 1 ? "–" : text;
      cell.append(name);
      if (i > 0) return cell;
      const dot = Object.assign(document.createElement("i"), { className: "dot" });
      dot.style.setProperty("--c", methods[row[0]].colour);
      const who = Object.assign(document.createElement("span"), { className: "who" });
      who.append(dot, name);
      cell.append(who);
      return cell;
    }));
    return made;
  };
  const draw = () => {
    const words = find.value.toLowerCase(), method = only.value;
    const kept = rows.filter((row) => (method === "" || row[0] === +method) &&
      `${cases[row[1]]} ${states[row[2]]}`.toLowerCase().includes(words));
    if (column >= 0) kept.sort(order);
    body.replaceChildren(...kept.slice(0, shown).map(line));
    all("[role=status]", box)[0].textContent = `${Math.min(shown, kept.length)} of ${kept.length} shown`;
    more.hidden = shown >= kept.length;
  };
  heads.forEach((button, i) => {
    button.onclick = () => {
      down = column === i ? -down : +button.dataset.worst;
      column = i;
      heads.forEach((other) => other.closest("th").removeAttribute("aria-sort"));
      button.closest("th").setAttribute("aria-sort", down > 0 ? "descending" : "ascending");
      draw();
    };
  });
  find.oninput = only.onchange = () => { shown = first; draw(); };
  more.onclick = () => { shown += 4 * step; draw(); };
  all(".tools", box)[0].hidden = false;
  draw();
}
