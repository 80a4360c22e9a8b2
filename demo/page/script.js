/** The sample page's own checks: each card tries its part on load, and again as the visitor asks. */
const texts = JSON.parse(document.getElementById("texts").textContent);
const ANSWER_WITHIN_MS = 15_000;
const EVENT_WITHIN_MS = 6_000;

// Without this script nothing would ever be checked, so only it shows that something is.
for (const state of document.querySelectorAll(".card[data-state=waiting] .state")) {
  state.textContent = texts.state.waiting;
  state.hidden = false;
}
document.getElementById("summary").hidden = false;
checkEvents();
checkSocket();
checkForm();
checkUpload();
summarise();

function checkEvents() {
  const clock = document.querySelector("#events time");
  const ticks = document.querySelector("#events .ticks");
  ticks.append(...Array.from({ length: 12 }, () => document.createElement("i")));
  let count = 0;
  let lastAt = 0;
  let silence = 0;

  const source = new EventSource("events");
  const listen = () => {
    clearTimeout(silence);
    silence = setTimeout(() => {
      report("events", "failed", fill(texts.events.silent, { seconds: EVENT_WITHIN_MS / 1000 }));
    }, EVENT_WITHIN_MS);
  };
  listen();
  source.addEventListener("message", (event) => {
    listen();
    const time = new Date(event.data);
    clock.dateTime = event.data;
    clock.textContent = time.toLocaleTimeString(texts.lang, { hour12: false });
    ticks.children[count % 12].classList.toggle("lit", Math.floor(count / 12) % 2 === 0);
    count += 1;
    const now = performance.now();
    // The first alone does not show that events come one by one.
    if (count > 1) {
      report("events", "works", fill(texts.events.works, { count, ms: Math.round(now - lastAt) }));
    }
    lastAt = now;
  });
  source.addEventListener("error", () => {
    clearTimeout(silence);
    report("events", "failed", texts.events.failed);
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(checkEvents, 3_000);
      ticks.replaceChildren();
    }
  });
}

function checkSocket() {
  const form = document.querySelector("#socket form");
  const log = document.querySelector("#socket .log");
  const url = new URL("echo", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  const sent = [];
  let ended = false;

  const send = (message, echoed) => {
    sent.push({ message, echoed, at: performance.now() });
    socket.send(message);
  };
  const fail = (reason) => {
    if (ended) return;
    ended = true;
    form.onsubmit = (event) => event.preventDefault();
    report("socket", "failed", fill(texts.socket.failed, { reason }));
    socket.close();
    setTimeout(checkSocket, 3_000);
  };

  socket.addEventListener("open", () => {
    const bytes = randomBytes(65_536);
    let textCameBack = false;
    send("✓ \u{1F6F6}", () => (textCameBack = true));
    send(bytes.buffer, (ms) => {
      if (textCameBack)
        report("socket", "works", fill(texts.socket.works, { bytes: number(bytes.length), ms }));
    });
  });
  socket.addEventListener("message", (event) => {
    const expected = sent.shift();
    if (!expected || !same(expected.message, event.data)) return fail(texts.different);
    expected.echoed(Math.round(performance.now() - expected.at));
  });
  socket.addEventListener("close", (event) => {
    fail(event.code === 1006 ? texts.unreachable : fill(texts.closed, { code: event.code }));
  });
  form.onsubmit = (event) => {
    event.preventDefault();
    const text = form.querySelector("input").value;
    if (text === "" || socket.readyState !== WebSocket.OPEN) return;
    send(text, (ms) => {
      const line = document.createElement("li");
      line.textContent = fill(texts.socket.echoed, { text, ms });
      log.append(line);
      while (log.children.length > 4) log.firstChild.remove();
    });
  };
}

function checkForm() {
  const form = document.querySelector("#form form");
  const answer = document.querySelector("#form .answer");

  const odd = [
    ["plain", "a+b c&d=e%41"],
    ["markup", "<b>\"'</b>"],
    ["unicode", "Ω 隧道 \u{1F6F6}"],
    ["empty", ""],
  ];
  postForm(odd)
    .then(({ fields, ms }) => {
      if (JSON.stringify(fields) !== JSON.stringify(odd)) throw new Error(texts.different);
      report("form", "works", fill(texts.form.works, { ms }));
    })
    .catch(formFailed);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    postForm([...new FormData(form)])
      .then(({ fields }) => {
        const list = document.createElement("dl");
        for (const [name, value] of fields) list.append(element("dt", name), element("dd", value));
        answer.replaceChildren(element("p", texts.form.answer), list);
        report("form", "works");
      })
      .catch(formFailed);
  });
}

async function postForm(fields) {
  const startedAt = performance.now();
  const response = await fetch("form", {
    method: "POST",
    headers: { accept: "application/json" },
    body: new URLSearchParams(fields),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  });
  if (!response.ok) throw new Error(fill(texts.status, { status: response.status }));
  return { fields: await response.json(), ms: Math.round(performance.now() - startedAt) };
}

function formFailed(error) {
  const reason = error.name === "TimeoutError" ? texts.timeout : error.message;
  report("form", "failed", fill(texts.form.failed, { reason }));
}

function checkUpload() {
  const form = document.querySelector("#upload form");
  const progress = document.querySelector("#upload progress");
  const answer = document.querySelector("#upload .answer");

  const upload = async (blob, say) => {
    try {
      const { ms, arrived } = await send(blob, (done) => {
        progress.value = 100 * done;
        say(fill(texts.upload.running, { percent: Math.round(100 * done), bytes: number(blob.size) }));
      });
      const hash = await sha256(blob);
      if (arrived.bytes !== blob.size || (hash && hash !== arrived.sha256)) throw new Error(texts.different);
      say(
        fill(hash ? texts.upload.works : texts.upload.counted, { bytes: number(blob.size), ms }),
        arrived.sha256,
      );
      report("upload", "works");
    } catch (error) {
      say("");
      report("upload", "failed", fill(texts.upload.failed, { reason: error.message }));
    }
  };

  void upload(new Blob([randomBytes(262_144)]), (text) => detail("upload", text));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const file = form.querySelector("input").files[0];
    if (!file) return answer.replaceChildren(texts.upload.none);
    void upload(file, (text, hash) => {
      answer.replaceChildren(text, ...(hash ? [element("p", ""), element("code", `SHA-256 ${hash}`)] : []));
    });
  });
}

/** By XMLHttpRequest, since fetch tells no progress of what it sends. */
function send(blob, onProgress) {
  return new Promise((resolve, reject) => {
    const startedAt = performance.now();
    const request = new XMLHttpRequest();
    request.open("POST", "upload");
    request.responseType = "json";
    request.setRequestHeader("content-type", "application/octet-stream");
    request.upload.addEventListener("progress", (event) =>
      onProgress(event.total ? event.loaded / event.total : 1),
    );
    request.addEventListener("error", () => reject(new Error(texts.unreachable)));
    request.addEventListener("load", () => {
      if (request.status !== 200) return reject(new Error(fill(texts.status, { status: request.status })));
      onProgress(1);
      resolve({ arrived: request.response, ms: Math.round(performance.now() - startedAt) });
    });
    request.send(blob);
  });
}

function report(id, state, text) {
  const card = document.getElementById(id);
  card.dataset.state = state;
  card.querySelector(".state").textContent = texts.state[state];
  if (text !== undefined) detail(id, text);
  summarise();
}

function detail(id, text) {
  document.querySelector(`#${id} > .detail`).textContent = text;
}

function summarise() {
  const cards = [...document.querySelectorAll(".card")].filter((card) => card.dataset.state !== "direct");
  const failed = cards.filter((card) => card.dataset.state === "failed");
  const summary = document.getElementById("summary");
  const direct = document.getElementById("request").dataset.state === "direct";
  let state = "works";
  let text = fill(direct ? texts.summary.direct : texts.summary.works, { total: cards.length });
  if (failed.length > 0) {
    state = "failed";
    text = fill(texts.summary.failed, { names: failed.map((card) => texts[card.id].title).join(", ") });
  } else if (cards.some((card) => card.dataset.state === "waiting")) {
    state = "waiting";
    text = texts.summary.waiting;
  }
  summary.dataset.state = state;
  // A live region speaks at each change: once a second would be too often.
  if (summary.textContent !== text) summary.textContent = text;
}

/** Undefined where the browser has no hash (a page without a secure context), or the file is too large for its memory. */
async function sha256(blob) {
  if (!globalThis.crypto.subtle || blob.size > 256 * 1024 * 1024) return undefined;
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await blob.arrayBuffer()));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function randomBytes(length) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
  return bytes;
}

function same(sent, received) {
  if (typeof sent === "string" || typeof received === "string") return sent === received;
  const left = new Uint8Array(sent);
  const right = new Uint8Array(received);
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(values[name] ?? whole));
}

function number(value) {
  return value.toLocaleString(texts.lang);
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
