// SPDX-License-Identifier: Apache-2.0
/** Short ways to ask the policy, for its tests. */
import { type ComposeAsk, type ComposePlan, checkCompose } from "./check.ts";

export const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;

export function ask(text: string, more: Partial<ComposeAsk> = {}): ComposeAsk {
  return {
    text,
    files: ["foo/bar.txt", "app.env"],
    env: { FOO: "42", EMPTY: "", ROOT: "/", HOST: "host" },
    publicContainerName: "api",
    publicContainerPort: 80,
    ...more,
  };
}

/** A document with one service `api`, whose members are the given lines. */
export const service = (...lines: string[]) =>
  ["services:", "  api:", `    image: caddy@${DIGEST}`, ...lines.map((line) => `    ${line}`), ""].join("\n");

/** `path:line` of every violation, in order; empty when the document is accepted. */
export function refusals(text: string, more: Partial<ComposeAsk> = {}): string[] {
  const verdict = checkCompose(ask(text, more));
  return verdict.ok ? [] : verdict.violations.map(({ path, line }) => `${path}:${line}`);
}

export function accepted(text: string, more: Partial<ComposeAsk> = {}): ComposePlan {
  const verdict = checkCompose(ask(text, more));
  if (!verdict.ok) throw new Error(verdict.violations.map((one) => `${one.path}: ${one.message}`).join("\n"));
  return verdict.plan;
}

/** What the one service of a document became. */
export function apiOf(text: string, more: Partial<ComposeAsk> = {}): Record<string, unknown> {
  return (accepted(text, more).document.services as Record<string, Record<string, unknown>>).api!;
}
