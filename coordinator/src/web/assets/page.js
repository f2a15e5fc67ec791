// Keeps the page up to date and draws its curves. Without this script the page shows what it was loaded with.
"use strict";

const main = document.querySelector("main");
const line = document.querySelector("p.connection");
const darkScheme = matchMedia("(prefers-color-scheme: dark)");

// Times of the coordinator in the reader's time zone.
function localTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const date = new Date(time.dateTime);
    if (!Number.isNaN(date.getTime())) {
      time.title = time.dateTime;
      time.textContent = date.toLocaleString();
    }
  }
}

// What a reader has opened, marked, scrolled and focused. Parts are told apart by what they say, as others come and go.
function readerState() {
  const all = (parts) => [...main.querySelectorAll(parts)];
  return {
    open: all("details[open]").map(textOf),
    marked: all("input:checked").map((box) => box.value),
    scrolled: all(".wide").map((part) => part.scrollLeft),
    focused: main.contains(document.activeElement) ? nameOf(document.activeElement) : null,
  };
}

function restore({ open, marked, scrolled, focused }) {
  for (const part of main.querySelectorAll("details")) part.open = open.includes(textOf(part));
  for (const box of main.querySelectorAll("input[type=checkbox]")) box.checked = marked.includes(box.value);
  main.querySelectorAll(".wide").forEach((part, place) => { part.scrollLeft = scrolled[place] ?? 0; });
  const parts = [...main.querySelectorAll("a, button, input, summary, .wide")];
  if (focused) parts.find((part) => nameOf(part) === focused)?.focus({ preventScroll: true });
}

function textOf(details) {
  return details.querySelector("summary").textContent;
}

function nameOf(part) {
  return [part.tagName, part.getAttribute("href"), part.getAttribute("aria-label") ?? part.textContent].join(" ");
}

// The plots outlive the content: they are moved into its next version, and drawn anew if there are new numbers.
const plots = [];

function show(html) {
  const before = readerState();
  const drawn = plots.length ? main.querySelector("[data-curves]") : null;
  main.innerHTML = html;
  localTimes(main);
  const place = main.querySelector("[data-curves]");
  if (place && drawn) {
    const version = place.dataset.version;
    place.replaceWith(drawn);
    if (drawn.dataset.version !== version) {
      drawn.dataset.version = version;
      draw();
    }
  } else {
    draw();
  }
  restore(before);
}

function mean(values) {
  const known = values.filter((value) => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

function extreme(values, pick) {
  const known = values.filter((value) => value !== null);
  return known.length ? pick(...known) : null;
}

// The mean of the folds with the range between the least and the greatest of them.
function series(data, key, label, colour) {
  const columns = data.epochs.map((_, place) => data.folds.map((fold) => fold[key][place]));
  return {
    label, colour,
    mean: columns.map(mean),
    least: columns.map((values) => extreme(values, Math.min)),
    greatest: columns.map((values) => extreme(values, Math.max)),
  };
}

function plot(title, epochs, lines) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  figure.append(caption);
  const data = [epochs];
  const columns = [{ label: "epoch" }];
  const bands = [];
  for (const of of lines) {
    const at = data.length;
    data.push(of.mean, of.least, of.greatest);
    columns.push(
      { label: of.label, stroke: of.colour, width: 2, points: { show: epochs.length < 40 } },
      { label: `${of.label}, lowest fold`, stroke: of.colour, width: 0.5, points: { show: false } },
      { label: `${of.label}, highest fold`, stroke: of.colour, width: 0.5, points: { show: false } },
    );
    bands.push({ series: [at + 2, at + 1], fill: of.colour + "22" });
  }
  // A canvas takes colours alone, no variables.
  const text = getComputedStyle(document.body).color;
  const grid = getComputedStyle(document.querySelector("header")).borderBottomColor;
  const axis = { stroke: text, grid: { stroke: grid, width: 1 } };
  const whole = { ...axis, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] };
  const settings = { ...plotSize(), scales: { x: { time: false } }, series: columns, bands, axes: [whole, axis] };
  plots.push(new uPlot(settings, data, figure));
  return figure;
}

function plotSize() {
  return { width: Math.min(main.clientWidth, 900), height: 260 };
}

async function draw() {
  const place = main.querySelector("[data-curves]");
  if (!place) return;
  const answer = await fetch(place.dataset.curves);
  if (!answer.ok) return;
  const data = await answer.json();
  // The page may have changed meanwhile.
  if (data.epochs.length === 0 || !place.isConnected) return;
  const [one, other] = darkScheme.matches ? ["#7db8ff", "#ffb86b"] : ["#0a58b0", "#a85400"];
  for (const old of plots.splice(0)) old.destroy();
  place.replaceChildren(
    plot(`Validation ${data.objective}, mean and range of the folds`, data.epochs, [series(data, "objective", data.objective, one)]),
    plot("Loss, mean and range of the folds", data.epochs, [
      series(data, "train_loss", "training", one),
      series(data, "valid_loss", "validation", other),
    ]),
    place.lastElementChild,
  );
}

let source = null;

function follow() {
  source = new EventSource(main.dataset.live);
  source.onmessage = (event) => {
    line.textContent = "";
    show(event.data);
  };
  source.onerror = () => {
    line.textContent = "The coordinator does not answer; trying again.";
    // A stream that was refused is not opened again by the browser: the session may have ended.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 10_000);
  };
}

if (main) {
  localTimes(document);
  draw();
  addEventListener("resize", () => { for (const plot of plots) plot.setSize(plotSize()); });
  darkScheme.addEventListener("change", draw);
  if (main.dataset.live) {
    follow();
    // Browsers have few connections to a host: pages that are not looked at leave theirs to others.
    document.addEventListener("visibilitychange", () => {
      source.close();
      if (!document.hidden) follow();
    });
  }
}
