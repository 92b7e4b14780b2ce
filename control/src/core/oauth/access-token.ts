// SPDX-License-Identifier: Apache-2.0
/**
 * Access tokens as they are read. Whoever calls chose every byte of one, so nothing of it is believed
 * before the signature holds under a key of ours, by the one algorithm we sign with; and then only as
 * what it says it is: an access token, of this issuer, for this API. An identity token, a token for
 * somebody else's API or one of another installation is not made for us, however well it is signed.
 */
import { decodeProtectedHeader, type JWTPayload, jwtVerify } from "jose";
import { Fault } from "#contract/errors.ts";
import type { Bearer } from "../identity/index.ts";
import type { SigningKeys } from "./keys.ts";

/** Clients of the original may send it; verifiers strip it. */
const PREFIX = "nxcdb-";
const LENGTH_MAX = 4096;
const TOKEN_FORM = /^[\w-]+\.[\w-]+\.[\w-]+$/;
export const ACCESS_TYPE = "accessToken";
const HEADER_TYPE = "at+jwt";

const text = (value: unknown): string | null => (typeof value === "string" ? value : null);

/** Throws 401 when it is none. */
export async function readAccessToken(...given: Parameters<typeof verifyAccessToken>): Promise<Bearer> {
  return bearerOf(await verifyAccessToken(...given));
}

export const verifyAccessToken = (
  keys: Pick<SigningKeys, "find">,
  issuer: string,
  given: string,
): Promise<JWTPayload> =>
  verifyToken(keys, { issuer, audience: issuer, header: HEADER_TYPE }, given, ACCESS_TYPE);

export interface TokenForm {
  issuer: string;
  audience: string;
  header: string;
}

/** Throws 401 unless it is a token of ours, of this form and this type. */
export async function verifyToken(
  keys: Pick<SigningKeys, "find">,
  { issuer, audience, header }: TokenForm,
  given: string,
  type: string,
): Promise<JWTPayload> {
  const token = given.startsWith(PREFIX) ? given.slice(PREFIX.length) : given;
  const kid = kidOf(token);
  // Outside of what becomes a 401: a database that is away does not make a token wrong.
  const key = kid === null ? undefined : await keys.find(kid);
  if (key === undefined) throw new Fault("identity.token");
  try {
    const { payload } = await jwtVerify(token, key, {
      ...{ algorithms: ["RS256"], issuer, audience, typ: header },
      requiredClaims: ["exp", "iat", "jti", "sub", "client_id", "typ"],
    });
    if (payload.typ !== type) throw new Error("a token of another type");
    return payload;
  } catch (cause) {
    throw new Fault("identity.token", {}, { cause });
  }
}

function kidOf(token: string): string | null {
  if (token.length > LENGTH_MAX || !TOKEN_FORM.test(token)) return null;
  try {
    return text(decodeProtectedHeader(token).kid);
  } catch {
    return null;
  }
}

export function bearerOf(payload: JWTPayload): Exclude<Bearer, { kind: "service" }> {
  const shared = { jti: payload.jti!, scopes: text(payload.scope)?.split(" ") ?? null };
  const [user, client, sid] = [text(payload.uid), text(payload.client_id), text(payload.sid)];
  if (user !== null && sid !== null && typeof payload.pwdTime === "number")
    return { ...shared, kind: "user", id: user, sid, passwordAt: payload.pwdTime };
  if (user === null && client !== null && client === payload.sub)
    return { ...shared, kind: "client", id: client, sid: null, passwordAt: null };
  throw new Fault("identity.token");
}
