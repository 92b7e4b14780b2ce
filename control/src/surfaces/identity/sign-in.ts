// SPDX-License-Identifier: Apache-2.0
/**
 * The sign-in page. Its question belongs to a cookie of this browser (core/oauth/interactions.ts), which no
 * other site's form carries; a form that says it comes from another origin is refused besides.
 * Wrong password, no such user and a user without a password are one sentence, after one time.
 */
import type { ServerResponse } from "node:http";
import { Fault } from "#contract/errors.ts";
import type * as contract from "#contract/identity/device.ts";
import type { authorize, signIn } from "#contract/identity/sign-in.ts";
import { checkPassword, findUser } from "../../core/identity/index.ts";
import type { Outside } from "../../core/oauth/index.ts";
import type { Answer, Call } from "../../http/call.ts";
import type { IdentityDeps } from "./deps.ts";
import { pass } from "./oauth.ts";
import { messagePage, type Page, signInPage } from "./pages.ts";
import { standardScope } from "./scope.ts";

type Needs = Pick<IdentityDeps, "db" | "authorization" | "passwords" | "issuer" | "outside">;

const OVER = messagePage(
  "Begin again",
  "This sign-in is over, or was begun in another browser. Go back to the program and begin again.",
);
const WRONG = "The e-mail address or the password is wrong.";
/** What the original's clients send, and what the standards call it. */
const ALIASES = { redirect_url: "redirect_uri", email: "login_hint" };

export async function begin(
  { authorization }: Pick<Needs, "authorization">,
  _call: Call<typeof authorize>,
): Promise<Answer> {
  return {
    status: 303,
    writes: (request, reply) => {
      const [path, query = ""] = (request.url ?? "").split("?", 2);
      const asked = asStandard(new URLSearchParams(query));
      if (asked === null) {
        const page = messagePage("It cannot go on", "The program asks for a permission that there is not.");
        return show(reply, 400, page);
      }
      request.url = `${path}?${asked}`;
      return authorization.answer(request, Buffer.alloc(0), reply);
    },
  };
}

/** Null: a narrowing that we do not know. */
function asStandard(given: URLSearchParams): URLSearchParams | null {
  const asked = new URLSearchParams();
  // Several of one name stay several: the library refuses them, and which is meant is not ours to guess.
  for (const [name, value] of given) {
    const standard = ALIASES[name as keyof typeof ALIASES];
    if (standard === undefined || !given.has(standard)) asked.append(standard ?? name, value);
  }
  if (!asked.has("response_type")) asked.set("response_type", "code");
  const scope = standardScope(asked.get("scope"));
  if (scope === null) return null;
  if (asked.getAll("scope").length <= 1) asked.set("scope", scope);
  return asked;
}

export async function ask(deps: Needs): Promise<Answer> {
  return {
    status: 200,
    writes: async (request, reply) => {
      const question = await deps.authorization.question(request, reply);
      if (question === null) return show(reply, 400, OVER);
      const asked = new URLSearchParams((request.url ?? "").split("?")[1] ?? "");
      if (asked.get("do") === "outside" && deps.outside !== null)
        return goOutside(deps.outside, question.id, reply);
      const ticket = asked.get("ticket");
      if (ticket !== null) {
        const user = (await deps.outside?.take(ticket, question.id)) ?? null;
        if (user !== null) return deps.authorization.proceed(request, reply, user);
      }
      const known = await knownName(deps, question);
      const outside = deps.outside?.name ?? null;
      return show(reply, 200, signInPage({ ...question, known, wrong: null, outside }));
    },
  };
}

export async function take(deps: Needs, call: Call<typeof signIn>): Promise<Answer> {
  requireOwnOrigin(call.headers, deps.issuer());
  const form = new URLSearchParams(call.raw.toString("utf8"));
  return {
    status: 303,
    writes: async (request, reply) => {
      const { authorization } = deps;
      const question = await authorization.question(request, reply);
      if (question === null) return show(reply, 400, OVER);
      const known = await knownName(deps, question);
      if (form.get("do") === "refuse") return authorization.refuse(request, reply);
      if (form.get("do") === "continue" && known !== null)
        return authorization.proceed(request, reply, question.userId!);
      const email = form.get("email") ?? "";
      const found = await tryPassword(deps, {
        email,
        password: form.get("password") ?? "",
        address: call.address,
      });
      if (typeof found === "string") return authorization.proceed(request, reply, found);
      const wrong = found === undefined ? WRONG : found.message;
      if (found?.retryAfterSeconds !== undefined) reply.setHeader("retry-after", found.retryAfterSeconds);
      const page = signInPage({
        ...question,
        email: email.slice(0, 254),
        known,
        wrong,
        outside: deps.outside?.name ?? null,
      });
      return show(reply, found?.kind.status ?? 400, page);
    },
  };
}

/** An address that brings the code along only fills the form in: nothing is sent by it. */
export async function askDevice({ authorization }: Pick<Needs, "authorization">): Promise<Answer> {
  return {
    status: 200,
    writes: (request, reply) => {
      const code = new URLSearchParams((request.url ?? "").split("?")[1] ?? "").get("user_code");
      request.url = code === null ? "/device" : `/device?${new URLSearchParams({ code })}`;
      return authorization.answer(request, Buffer.alloc(0), reply);
    },
  };
}

export async function takeDevice(deps: Needs, call: Call<typeof contract.takeDevice>): Promise<Answer> {
  requireOwnOrigin(call.headers, deps.issuer());
  return pass(deps, call);
}

async function goOutside(outside: Outside, question: string, reply: ServerResponse): Promise<void> {
  try {
    reply.writeHead(303, { location: (await outside.begin(question)).href }).end();
  } catch (error) {
    return showFault(reply, error);
  }
}

/** From the provider outside to the question that it was asked for: only the browser that has it goes on. */
export async function back({ outside }: Pick<Needs, "outside">): Promise<Answer> {
  return {
    status: 303,
    writes: async (request, reply) => {
      if (outside === null) return show(reply, 404, OVER);
      try {
        const { question, ticket } = await outside.finish((request.url ?? "").split("?")[1] ?? "");
        reply.writeHead(303, { location: `/sign-in/${question}?${new URLSearchParams({ ticket })}` }).end();
      } catch (error) {
        return showFault(reply, error);
      }
    },
  };
}

async function showFault(reply: ServerResponse, error: unknown): Promise<void> {
  if (!(error instanceof Fault)) throw error;
  return show(reply, error.kind.status, messagePage("You could not be signed in", error.message));
}

/** A user's id; a fault that people should read; undefined: wrong. */
async function tryPassword(
  deps: Needs,
  given: { email: string; password: string; address: string },
): Promise<string | Fault | undefined> {
  try {
    return (await checkPassword(deps, given))?.id;
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
}

/** Who may go on without a password: somebody is signed in here, and only the program is new. */
async function knownName(
  { db }: Pick<Needs, "db">,
  { prompt, userId }: { prompt: string; userId: string | null },
): Promise<string | null> {
  if (prompt !== "consent" || userId === null) return null;
  return (await findUser(db.run, userId))?.email ?? null;
}

function requireOwnOrigin(headers: Call["headers"], issuer: string): void {
  const { origin, "sec-fetch-site": site } = headers;
  const foreign =
    origin === undefined ? (site ?? "same-origin") !== "same-origin" : origin !== new URL(issuer).origin;
  if (foreign) throw new Fault("identity.forbidden");
}

async function show(reply: ServerResponse, status: number, { html, headers }: Page): Promise<void> {
  reply.writeHead(status, { ...headers, "content-type": "text/html; charset=utf-8" }).end(html);
}
