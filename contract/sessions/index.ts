// SPDX-License-Identifier: Apache-2.0
/** The whole sessions surface, in the order of its documentation. */
import type { Operation } from "../operation.ts";
import { billingWebhook, checkout, getMe } from "./account.ts";
import { getCertificatePage, getCertificatePaper } from "./certificate.ts";
import { createSession } from "./create.ts";
import { destroySession, getProof } from "./destroy.ts";
import { exec } from "./exec.ts";
import { deleteFile, getFile, putFile } from "./files.ts";
import { health } from "./health.ts";
import { getLogCheckpoint, getLogKeys, getLogTile, getTransparency } from "./log.ts";
import { extendSession, getSession, listSessions, sessionEvents } from "./read.ts";
import { signup } from "./signup.ts";
import { getKey, verifyProof } from "./verify.ts";

export const SESSIONS: readonly Operation[] = [
  signup,
  createSession,
  listSessions,
  getSession,
  extendSession,
  sessionEvents,
  exec,
  putFile,
  getFile,
  deleteFile,
  destroySession,
  getProof,
  getCertificatePage,
  getCertificatePaper,
  getTransparency,
  getMe,
  verifyProof,
  getKey,
  getLogCheckpoint,
  getLogTile,
  getLogKeys,
  health,
  checkout,
  billingWebhook,
];
