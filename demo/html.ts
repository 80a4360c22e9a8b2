/** A piece of markup that is safe to put in a page as it is. */
export interface Html {
  readonly markup: string;
}

/** Builds markup; every value that is not markup itself is escaped, also inside quoted attributes. */
export function html(strings: TemplateStringsArray, ...values: (string | number | Html | Html[])[]): Html {
  let markup = strings[0]!;
  values.forEach((value, index) => {
    markup += render(value) + strings[index + 1]!;
  });
  return { markup };
}

/** A JSON data block that no value in it can end early. */
export function jsonBlock(id: string, data: unknown): Html {
  const json: Html = { markup: JSON.stringify(data).replaceAll("<", "\\u003c") };
  return html`<script type="application/json" id="${id}">
    ${json}
  </script>`;
}

function render(value: string | number | Html | Html[]): string {
  if (Array.isArray(value)) return value.map((piece) => piece.markup).join("");
  if (typeof value === "object") return value.markup;
  return String(value).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
