// SPDX-License-Identifier: Apache-2.0
import * as cataloguesContract from "#contract/models/catalogues.ts";
import * as conversionsContract from "#contract/models/conversions.ts";
import * as functionsContract from "#contract/models/functions.ts";
import * as useContract from "#contract/models/use.ts";
import { type Route, route } from "../../http/call.ts";
import * as artifacts from "./artifacts.ts";
import * as catalogues from "./catalogues.ts";
import * as conversions from "./conversions.ts";
import type { ModelsDeps } from "./deps.ts";
import * as functions from "./functions.ts";
import { lease, putArtifact } from "./lease.ts";
import { create, patch } from "./upload.ts";
import * as use from "./use.ts";

export function modelRoutes(deps: ModelsDeps): Route[] {
  const places = new use.Places(deps.config.children);
  const { OTHER_SPELLINGS: other } = functionsContract;
  const { OTHER_SPELLINGS: otherCatalogues } = cataloguesContract;
  return [
    route(functionsContract.listFunctions, (call) => functions.list(deps, call)),
    route(functionsContract.createFunction, (call) => create(deps, call)),
    route(other.createFunction, (call) => create(deps, call)),
    route(functionsContract.functionStatistics, (call) => functions.statistics(deps, call)),
    route(functionsContract.getFunction, (call) => functions.get(deps, call)),
    route(other.getFunction, (call) => functions.get(deps, call)),
    route(functionsContract.patchFunction, (call) => patch(deps, call)),
    route(other.patchFunction, (call) => patch(deps, call)),
    route(functionsContract.deleteFunction, (call) => functions.remove(deps, call)),
    route(other.deleteFunction, (call) => functions.remove(deps, call)),
    route(functionsContract.getValidation, (call) => functions.validation(deps, call)),
    route(functionsContract.listVersions, (call) => functions.listVersions(deps, call)),
    route(functionsContract.getVersion, (call) => functions.getVersion(deps, call)),
    route(functionsContract.putAlias, (call) => functions.putAlias(deps, call)),
    route(functionsContract.deleteAlias, (call) => functions.deleteAlias(deps, call)),

    route(conversionsContract.createConversions, (call) => conversions.create(deps, call)),
    route(conversionsContract.listConversions, (call) => conversions.list(deps, call)),
    route(conversionsContract.leaseConversion, (call) => lease(deps, call)),
    route(conversionsContract.getConversion, (call) => conversions.get(deps, call)),
    route(conversionsContract.cancelConversion, (call) => conversions.cancel(deps, call)),
    route(conversionsContract.retryConversion, (call) => conversions.retry(deps, call)),
    route(conversionsContract.conversionEvents, (call) => conversions.events(deps, call)),
    route(conversionsContract.putArtifact, (call) => putArtifact(deps, call)),
    route(conversionsContract.listArtifacts, (call) => artifacts.list(deps, call)),
    route(conversionsContract.getArtifact, (call) => artifacts.content(deps, call)),
    route(conversionsContract.headArtifact, (call) => artifacts.head(deps, call)),
    route(conversionsContract.listKeys, () => artifacts.keys(deps)),

    route(cataloguesContract.listCatalogues, (call) => catalogues.list(deps, call)),
    route(cataloguesContract.createCatalogue, (call) => catalogues.create(deps, call)),
    route(cataloguesContract.getCatalogue, (call) => catalogues.get(deps, call)),
    route(cataloguesContract.patchCatalogue, (call) => catalogues.patch(deps, call)),
    route(cataloguesContract.deleteCatalogue, (call) => catalogues.remove(deps, call)),
    route(otherCatalogues.getCatalogue, (call) => catalogues.get(deps, call)),
    route(otherCatalogues.patchCatalogue, (call) => catalogues.patch(deps, call)),
    route(otherCatalogues.deleteCatalogue, (call) => catalogues.remove(deps, call)),
    route(cataloguesContract.putInCatalogue, (call) =>
      catalogues.put(deps, call, call.params.uuid, call.params.function),
    ),
    route(cataloguesContract.addToCatalogue, (call) =>
      catalogues.put(deps, call, call.params.uuid, call.body.FunctionUUID),
    ),
    route(cataloguesContract.takeFromCatalogue, (call) =>
      catalogues.take(deps, call, call.params.uuid, call.params.function),
    ),

    route(useContract.configuration, () => use.configuration(deps)),
    route(useContract.infer, (call) => use.infer(deps, places, call)),
    route(useContract.listBenchmarks, (call) => use.listBenchmarks(deps, call)),
    route(useContract.createBenchmark, (call) => use.createBenchmark(deps, places, call)),
    route(useContract.listAvailable, (call) => use.available(deps, call)),
    route(useContract.listAvailableOf, (call) => use.available(deps, call)),
  ];
}
