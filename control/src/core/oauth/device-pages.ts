// SPDX-License-Identifier: Apache-2.0
/**
 * Of the device flow, what the library would show pages of its own for. An attacker can begin a sign-in on
 * their device and send somebody its code: the person who types it in must read what it means.
 */
import type { KoaContextWithOIDC } from "oidc-provider";

export interface ShownPage {
  html: string;
  headers: Record<string, string>;
}

export interface DevicePages {
  input(ask: { xsrf: string; code: string; wrong: string | null }): ShownPage;
  confirm(ask: { xsrf: string; code: string; clientName: string }): ShownPage;
  done(): ShownPage;
}

const secretOf = ({ oidc }: KoaContextWithOIDC): string =>
  (oidc.session as unknown as { state: { secret: string } }).state.secret;

export function showPage(context: KoaContextWithOIDC, { html, headers }: ShownPage): void {
  context.set(headers);
  context.type = "html";
  context.body = html;
}

export const deviceFlow = (pages: DevicePages) => ({
  enabled: true,
  charset: "base-20" as const,
  mask: "****-****",
  userCodeInputSource: (context: KoaContextWithOIDC, _form: string, _out?: unknown, error?: Error) => {
    // `code` is what server's address-with-a-code became on the way here: text to look at, nothing more.
    const { code } = context.query;
    const wrong = error === undefined ? null : sentenceOf(error);
    const given = typeof code === "string" ? code.slice(0, 20) : "";
    showPage(context, pages.input({ xsrf: secretOf(context), code: given, wrong }));
  },
  userCodeConfirmSource: (
    context: KoaContextWithOIDC,
    _form: string,
    client: { clientName?: string | undefined; clientId: string },
    _device: unknown,
    code: string,
  ) => {
    const clientName = client.clientName ?? client.clientId;
    showPage(context, pages.confirm({ xsrf: secretOf(context), code, clientName }));
  },
  successSource: (context: KoaContextWithOIDC) => showPage(context, pages.done()),
});

const sentenceOf = ({ name }: Error): string =>
  name === "AbortedError" ? "The sign-in was stopped." : "This code is wrong, used, or too old.";
