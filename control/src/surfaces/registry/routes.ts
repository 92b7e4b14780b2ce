// SPDX-License-Identifier: Apache-2.0
/** The whole surface at a glance: every operation and the function that answers it. */
import * as b from "#contract/registry/blobs.ts";
import * as m from "#contract/registry/manifests.ts";
import { type Route, route } from "../../http/call.ts";
import * as blobs from "./blobs.ts";
import type { Deps } from "./deps.ts";
import * as manifests from "./manifests.ts";
import { catalog } from "./repositories.ts";
import * as tags from "./tags.ts";
import * as uploads from "./uploads.ts";

export function registryRoutes(deps: Deps): Route[] {
  return [
    route(m.checkRegistry, async () => ({ status: 200, body: {} })),
    route(m.listRepositories, (call) => catalog(deps, call)),
    route(m.headManifest, (call) => manifests.head(deps, call)),
    route(m.getManifest, (call) => manifests.get(deps, call)),
    route(m.putManifest, (call) => manifests.put(deps, call)),
    route(m.deleteManifest, (call) => manifests.remove(deps, call)),
    route(m.listTags, (call) => tags.list(deps, call)),
    route(m.listReferrers, (call) => tags.referrers(deps, call)),
    route(b.headBlob, (call) => blobs.head(deps, call)),
    route(b.getBlob, (call) => blobs.get(deps, call)),
    route(b.deleteBlob, (call) => blobs.remove(deps, call)),
    route(b.startUpload, (call) => uploads.start(deps, call)),
    route(b.getUpload, (call) => uploads.look(deps, call)),
    route(b.patchUpload, (call) => uploads.append(deps, call)),
    route(b.finishUpload, (call) => uploads.finish(deps, call)),
    route(b.deleteUpload, (call) => uploads.giveUp(deps, call)),
  ];
}
