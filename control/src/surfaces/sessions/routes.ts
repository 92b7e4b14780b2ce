// SPDX-License-Identifier: Apache-2.0
/** The whole surface at a glance: every operation and the function that answers it. */
import { billingWebhook, checkout as checkoutOperation, getMe } from "#contract/sessions/account.ts";
import { getCertificatePage, getCertificatePaper } from "#contract/sessions/certificate.ts";
import { createSession } from "#contract/sessions/create.ts";
import { destroySession, getProof } from "#contract/sessions/destroy.ts";
import { exec as execOperation } from "#contract/sessions/exec.ts";
import { deleteFile, getFile, putFile } from "#contract/sessions/files.ts";
import { health as healthOperation } from "#contract/sessions/health.ts";
import { getLogCheckpoint, getLogKeys, getLogTile, getTransparency } from "#contract/sessions/log.ts";
import { extendSession, getSession, listSessions, sessionEvents } from "#contract/sessions/read.ts";
import { signup as signupOperation } from "#contract/sessions/signup.ts";
import { getKey, verifyProof } from "#contract/sessions/verify.ts";
import { type Route, route } from "../../http/call.ts";
import { me, signup } from "./account.ts";
import { checkout, webhook } from "./billing.ts";
import { certificatePage, certificatePaper } from "./certificate/index.ts";
import { create } from "./create.ts";
import type { Deps } from "./deps.ts";
import { destroy, readProof } from "./destroy.ts";
import { events } from "./events.ts";
import { exec } from "./exec.ts";
import { extend } from "./extend.ts";
import { get, put, remove } from "./files.ts";
import { health } from "./health.ts";
import { checkpoint, keys as logKeys, tile, transparency } from "./log.ts";
import { list, read } from "./read.ts";
import { key, verifier } from "./verify.ts";

export function sessionRoutes(deps: Deps): Route[] {
  return [
    route(signupOperation, (call) => signup(deps, call)),
    route(createSession, (call) => create(deps, call)),
    route(listSessions, (call) => list(deps, call)),
    route(getSession, (call) => read(deps, call)),
    route(extendSession, (call) => extend(deps, call)),
    route(sessionEvents, (call) => events(deps, call)),
    route(execOperation, (call) => exec(deps, call)),
    route(putFile, (call) => put(deps, call)),
    route(getFile, (call) => get(deps, call)),
    route(deleteFile, (call) => remove(deps, call)),
    route(destroySession, (call) => destroy(deps, call)),
    route(getProof, (call) => readProof(deps, call)),
    route(getCertificatePage, (call) => certificatePage(deps, call)),
    route(getCertificatePaper, (call) => certificatePaper(deps, call)),
    route(getTransparency, (call) => transparency(deps, call)),
    route(getMe, (call) => me(deps, call)),
    route(verifyProof, verifier(deps)),
    route(getKey, (call) => key(deps, call)),
    route(getLogCheckpoint, (call) => checkpoint(deps, call)),
    route(getLogTile, (call) => tile(deps, call)),
    route(getLogKeys, (call) => logKeys(deps, call)),
    route(healthOperation, (call) => health(deps, call)),
    route(checkoutOperation, (call) => checkout(deps, call)),
    route(billingWebhook, (call) => webhook(deps, call)),
  ];
}
