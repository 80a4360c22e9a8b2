import { html, jsonBlock, type Html } from "./html.ts";
import { fill, type Texts } from "./texts.ts";

/** What the page shows of the request that asked for it. */
export interface SeenRequest {
  method: string;
  target: string;
  /** Names and values in turn, as node's `rawHeaders`. */
  fields: string[];
}

/** The sample page; `formAnswer` holds the fields that a form without JavaScript has sent. */
export function renderPage(texts: Texts, request: SeenRequest, formAnswer?: [string, string][]): string {
  return document(
    texts,
    html`<header class="top">
        <h1>${texts.title}</h1>
        <p class="lead">${texts.lead}</p>
        ${pathPicture(texts)}
        <p class="summary" id="summary" role="status" hidden></p>
        <noscript><p class="summary">${texts.noScript}</p></noscript>
      </header>
      <main class="cards">
        ${eventsCard(texts)} ${socketCard(texts)} ${formCard(texts, formAnswer)} ${uploadCard(texts)}
        ${requestCard(texts, request)}
      </main>
      ${jsonBlock("texts", texts)}
      <script type="module" src="script.js"></script>`,
  ).markup;
}

/** A page with one sentence, for errors. */
export function renderNotice(texts: Texts, notice: string): string {
  return document(
    texts,
    html`<header class="top">
      <h1>${texts.title}</h1>
      <p class="lead">${notice}</p>
    </header>`,
  ).markup;
}

function document(texts: Texts, body: Html): Html {
  return html`<!doctype html>
    <html lang="${texts.lang}">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${texts.title}</title>
        <link
          rel="icon"
          href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 14V9a7 7 0 0 1 14 0v5h-4V9a3 3 0 0 0-6 0v5z' fill='%230f8a7e'/%3E%3C/svg%3E"
        />
        <link rel="stylesheet" href="style.css" />
      </head>
      <body>
        ${body}
      </body>
    </html>`;
}

function pathPicture(texts: Texts): Html {
  return html`<ol class="path" aria-label="${texts.path.label}">
    <li>${texts.path.browser}</li>
    <li><code>tunnel-server</code></li>
    <li><code>tunnel-client</code></li>
    <li>${texts.path.app}</li>
  </ol>`;
}

function card(
  texts: Texts,
  id: string,
  title: string,
  about: string,
  content: Html,
  state?: CardState,
): Html {
  return html`<section
    class="card"
    id="${id}"
    data-state="${state ?? "waiting"}"
    aria-labelledby="${id}-title"
  >
    <div class="card-head">
      <h2 id="${id}-title">${title}</h2>
      ${state ? html`<span class="state">${texts.state[state]}</span>` : html`<span class="state" hidden></span>`}
    </div>
    <p class="about">${about}</p>
    ${content}
    <p class="detail"></p>
  </section>`;
}

type CardState = keyof Texts["state"];

function eventsCard(texts: Texts): Html {
  return card(
    texts,
    "events",
    texts.events.title,
    texts.events.about,
    html`<p class="clock"><span class="visually-hidden">${texts.events.clock}</span><time>--:--:--</time></p>
      <div class="ticks" aria-hidden="true"></div>`,
  );
}

function socketCard(texts: Texts): Html {
  return card(
    texts,
    "socket",
    texts.socket.title,
    texts.socket.about,
    html`<form class="row">
        <label for="socket-message">${texts.socket.message}</label>
        <input id="socket-message" value="${texts.socket.messageValue}" autocomplete="off" maxlength="200" />
        <button>${texts.socket.send}</button>
      </form>
      <ul class="log" role="log" aria-label="${texts.socket.log}"></ul>`,
  );
}

function formCard(texts: Texts, answer: [string, string][] | undefined): Html {
  const rows = (answer ?? []).map(
    ([name, value]) =>
      html`<dt>${name}</dt>
        <dd>${value}</dd>`,
  );
  const shown = answer
    ? html`<p>${texts.form.answer}</p>
        <dl>${rows}</dl>`
    : html``;
  return card(
    texts,
    "form",
    texts.form.title,
    texts.form.about,
    html`<form class="rows" method="post" action="form">
        <label for="form-name">${texts.form.name}</label>
        <input id="form-name" name="name" value="${texts.form.nameValue}" autocomplete="off" />
        <label for="form-message">${texts.form.message}</label>
        <input id="form-message" name="message" value="${texts.form.messageValue}" autocomplete="off" />
        <button>${texts.form.send}</button>
      </form>
      <div class="answer" role="status">${shown}</div>`,
  );
}

function uploadCard(texts: Texts): Html {
  return card(
    texts,
    "upload",
    texts.upload.title,
    texts.upload.about,
    html`<form class="row">
        <label for="upload-file">${texts.upload.choose}</label>
        <input id="upload-file" type="file" />
        <button>${texts.upload.send}</button>
      </form>
      <progress max="100" value="0" aria-label="${texts.upload.progress}"></progress>
      <div class="answer" role="status"></div>`,
  );
}

function requestCard(texts: Texts, request: SeenRequest): Html {
  const pairs = fieldPairs(request.fields);
  const forwarding = pairs.filter(([name]) =>
    /^(x-forwarded-.+|x-real-ip|x-request-id|forwarded|via)$/i.test(name),
  );
  const shown = pairs.filter((pair) => forwarding.includes(pair) || /^host$/i.test(pair[0]));
  const forwarded = forwarding.some(([name]) => /^(x-forwarded-for|forwarded)$/i.test(name));
  return card(
    texts,
    "request",
    texts.request.title,
    texts.request.about,
    html`${fieldTable(texts, shown)} ${forwarded ? html`` : html`<p>${texts.request.direct}</p>`}
      <details>
        <summary>${fill(texts.request.all, { count: pairs.length })}</summary>
        <p><code>${request.method} ${request.target}</code></p>
        ${fieldTable(texts, pairs)}
      </details>`,
    forwarded ? "works" : "direct",
  );
}

function fieldTable(texts: Texts, pairs: [string, string][]): Html {
  const rows = pairs.map(
    ([name, value]) =>
      html`<tr>
        <th scope="row">${name}</th>
        <td>${value}</td>
      </tr>`,
  );
  return html`<table>
    <thead class="visually-hidden">
      <tr>
        <th scope="col">${texts.request.field}</th>
        <th scope="col">${texts.request.value}</th>
      </tr>
    </thead>
    <tbody>
      ${rows}
    </tbody>
  </table>`;
}

function fieldPairs(fields: string[]): [string, string][] {
  const pairs: [string, string][] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) pairs.push([fields[i]!, fields[i + 1]!]);
  return pairs;
}
