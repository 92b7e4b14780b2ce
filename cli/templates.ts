// SPDX-License-Identifier: Apache-2.0
/** `casemate templates build`: makes a root template and prints the configuration that uses it. */
import { buildTemplate } from "#embedded/templates/build.ts";

export interface BuildCommand {
  to: string;
  sources?: string;
  json?: boolean;
}

export async function buildCommand(name: string, packages: string[], options: BuildCommand): Promise<number> {
  const { to, sources, json = false } = options;
  const template = await buildTemplate({ name, packages, folder: to, ...(sources && { sources }) });
  const config = { control: { sessions: { template: name } }, host: { templates: { [name]: template } } };
  if (json) process.stdout.write(`${JSON.stringify(config)}\n`);
  else
    process.stdout.write(
      `${template.path}: ${template.digest}\nNew sessions have it as their root when your --config file says:\n${JSON.stringify(config, null, 2)}\n`,
    );
  return 0;
}
