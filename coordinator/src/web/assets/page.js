// Keeps the page up to date and draws its curves. Without this script the page shows what it was loaded with.
"use strict";

const main = document.querySelector("main");
const line = document.querySelector("p.connection");

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

// The state of what a reader has opened and marked, by its place among its kind.
function openParts() {
  const parts = [...main.querySelectorAll("details")].map((part) => part.open);
  const marked = [...main.querySelectorAll("input[type=checkbox]")].filter((box) => box.checked).map((box) => box.value);
  return { parts, marked };
}

function restore({ parts, marked }) {
  [...main.querySelectorAll("details")].forEach((part, place) => { part.open = parts[place] ?? false; });
  for (const box of main.querySelectorAll("input[type=checkbox]")) box.checked = marked.includes(box.value);
}

// The plots outlive the content: they are moved into its next version and get new numbers if there are any.
let curves = null;

function show(html) {
  const before = openParts();
  const plots = main.querySelector("[data-curves]");
  main.innerHTML = html;
  restore(before);
  localTimes(main);
  const place = main.querySelector("[data-curves]");
  if (place && plots && curves) {
    const version = place.dataset.version;
    place.replaceWith(plots);
    if (plots.dataset.version !== version) {
      plots.dataset.version = version;
      draw(plots);
    }
  } else if (place) {
    draw(place);
  }
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
  const style = getComputedStyle(document.body);
  const axis = { stroke: style.color, grid: { stroke: style.getPropertyValue("--line"), width: 1 } };
  const width = Math.min(main.clientWidth, 900);
  new uPlot({ width, height: 260, scales: { x: { time: false } }, series: columns, bands, axes: [axis, axis] }, data, figure);
  return figure;
}

async function draw(place) {
  const answer = await fetch(place.dataset.curves);
  if (!answer.ok) return;
  const data = await answer.json();
  if (data.epochs.length === 0) return;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const [one, other] = dark ? ["#7db8ff", "#ffb86b"] : ["#0a58b0", "#a85400"];
  curves = data;
  place.replaceChildren(
    plot(`Validation ${data.objective}, mean and range of the folds`, data.epochs, [series(data, "objective", data.objective, one)]),
    plot("Loss, mean and range of the folds", data.epochs, [
      series(data, "train_loss", "training", one),
      series(data, "valid_loss", "validation", other),
    ]),
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
  const place = main.querySelector("[data-curves]");
  if (place) draw(place);
  if (main.dataset.live) {
    follow();
    // Browsers have few connections to a host: pages that are not looked at leave theirs to others.
    document.addEventListener("visibilitychange", () => {
      source.close();
      if (!document.hidden) follow();
    });
  }
}
