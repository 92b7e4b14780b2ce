// SPDX-License-Identifier: Apache-2.0
/**
 * Whom a host's door for an instance dials this API as. What an instance sends is limited, and its calls of models are not: from this address
 * there is the gateway of models and nothing else, or a limit would be no more than a detour by a registry or a session.
 */
export const INSTANCE_DOOR_ADDRESS = "127.0.0.77";
