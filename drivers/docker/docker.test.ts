// SPDX-License-Identifier: Apache-2.0
import { dockerd } from "#testing/docker.ts";
import { describeWith } from "#testing/requirements.ts";
import { keptConformance } from "../conformance/kept-suite.ts";
import { dockerSubject } from "./testing.ts";

describeWith([dockerd], "containers of a Docker engine", () => {
  keptConformance(() => dockerSubject());
});
