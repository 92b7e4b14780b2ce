// SPDX-License-Identifier: Apache-2.0
/**
 * The pages that people see: text, a form, no script. Whatever a client or a person is called is foreign text,
 * so everything goes in through `html`, which escapes it.
 */
import { createHash } from "node:crypto";

export interface Page {
  html: string;
  headers: Record<string, string>;
}

const ESCAPES: Record<string, string> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

class Markup {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

function html(parts: TemplateStringsArray, ...values: (string | Markup)[]): Markup {
  const shown = values.map((value) =>
    value instanceof Markup ? value.text : value.replace(/[&<>"']/g, (each) => ESCAPES[each]!),
  );
  return new Markup(parts.reduce((text, part, at) => text + part + (shown[at] ?? ""), ""));
}
const NOTHING = new Markup("");

const STYLE =
  "body{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:10vh auto;padding:0 1rem;color:#1a1a1a;background:#fafafa}label{display:block;margin:.8rem 0}input{display:block;width:100%;box-sizing:border-box;padding:.5rem;font:inherit}button{margin:.8rem .5rem 0 0;padding:.5rem 1rem;font:inherit}.wrong{color:#a00}";
/** Of exactly this style, and of nothing else. */
const STYLE_HASH = createHash("sha256").update(STYLE).digest("base64");

/** `goesTo`: where the browser is sent after the form; Chromium holds redirects to this list too. */
function page(title: string, body: Markup, goesTo: string | null = null): Page {
  const text = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title><style>${new Markup(STYLE)}</style></head>
<body><main><h1>${title}</h1>
${body}
</main></body></html>
`;
  const policy = [
    ...[
      "default-src 'none'",
      `style-src 'sha256-${STYLE_HASH}'`,
      "base-uri 'none'",
      "frame-ancestors 'none'",
    ],
    `form-action 'self'${goesTo === null ? "" : ` ${goesTo}`}`,
  ];
  return {
    html: text.text,
    headers: {
      "content-security-policy": policy.join("; "),
      "x-content-type-options": "nosniff",
      "x-frame-options": "DENY",
      // Not `no-referrer`: browsers would send forms of ours from the origin `null`.
      "referrer-policy": "same-origin",
      "cache-control": "no-store",
    },
  };
}

export const messagePage = (title: string, message: string): Page => page(title, html`<p>${message}</p>`);

/** Of the device flow (core/oauth/device-pages.ts). */
export const devicePages = {
  input: ({ xsrf, code, wrong }: { xsrf: string; code: string; wrong: string | null }): Page =>
    page(
      "Sign in on a device",
      html`<p>Type in the code that your device shows. Only one that a device in front of you shows: whoever sent you
a code would get into your account by it.</p>
${wrong === null ? NOTHING : html`<p class="wrong" role="alert">${wrong}</p>`}
<form method="post" action="/device">
<input type="hidden" name="xsrf" value="${xsrf}">
<label>Code <input name="user_code" autocomplete="off" required maxlength="20" value="${code}"></label>
<button>Go on</button>
</form>`,
    ),
  confirm: ({ xsrf, code, clientName }: { xsrf: string; code: string; clientName: string }): Page =>
    page(
      "Is this your device?",
      html`<p><strong>${clientName}</strong> on a device wants to act for you. The device shows this code:</p>
<p><strong>${code}</strong></p>
<p>Go on only if you began this yourself, just now, on a device in front of you. If somebody sent you the code, or
asked you to type it in, stop: they would get into your account.</p>
<form method="post" action="/device">
<input type="hidden" name="xsrf" value="${xsrf}"><input type="hidden" name="user_code" value="${code}">
<button name="confirm" value="yes">It is mine, go on</button><button name="abort" value="yes">Stop</button>
</form>`,
    ),
  done: (): Page => messagePage("Done", "Your device is signed in. You can close this page."),
};

export interface SignInPage {
  clientName: string;
  returnsTo: string | null;
  /** Signed in already, and may go on by that. */
  known: string | null;
  email: string;
  wrong: string | null;
  /** Name of the provider outside, where there is one. */
  outside: string | null;
}

export function signInPage(ask: SignInPage): Page {
  const onward =
    ask.known === null
      ? NOTHING
      : html`<form method="post"><p>You are signed in as <strong>${ask.known}</strong>.</p>
<button name="do" value="continue">Continue</button></form>`;
  // A link, not a form: where that provider sends the browser on to is its own business, and no form's.
  const elsewhere =
    ask.outside === null ? NOTHING : html`<p><a href="?do=outside">Sign in with ${ask.outside}</a></p>`;
  return page(
    "Sign in",
    html`<p><strong>${ask.clientName}</strong> asks to act for you${
      ask.returnsTo === null ? NOTHING : html`; then you go to <strong>${ask.returnsTo}</strong>`
    }.</p>
${ask.wrong === null ? NOTHING : html`<p class="wrong" role="alert">${ask.wrong}</p>`}
${onward}
<form method="post">
<label>E-mail address <input name="email" type="email" autocomplete="username" required maxlength="254" value="${ask.email}"></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required maxlength="256"></label>
<button name="do" value="password">Sign in</button>
</form>
${elsewhere}
<form method="post"><button name="do" value="refuse">Cancel</button></form>`,
    ask.returnsTo,
  );
}
