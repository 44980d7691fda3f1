/**
 * Programs that give credentials (`exec` in a kubeconfig) and the older `auth-provider`, run by client-node: its support of exec plugins stands
 * alone and is loaded where one is named; its whole KubeConfig only where a user has an `auth-provider`.
 */
import path from 'node:path';
import type { User } from '@kubernetes/client-node';
import { isJsonObject, type JsonObject } from '../kubernetes.ts';
import type { Identity } from './identity.ts';
import type { Section } from './kubeconfig.ts';

export interface Plugin {
  get(): Promise<Identity>;
  forget(): void;
}

/** What client-node's authenticators fill in. */
interface Filled {
  headers: Record<string, string>;
  cert?: string;
  key?: string;
}

/**
 * The plugin of a user; undefined where the user has none.
 * @param text a kubeconfig with what the context names
 * @param context its name
 * @throws {InputError}
 */
export function findPlugin(
  text: string,
  context: string,
  cluster: Section,
  user: Section,
): Plugin | undefined {
  if (isJsonObject(user.get('exec'))) return execPlugin(cluster, user);
  if (!isJsonObject(user.get('auth-provider'))) return undefined;
  return plugin(user, async () => {
    const { KubeConfig } = await import('@kubernetes/client-node/dist/config.js');
    const config = new KubeConfig();
    config.loadFromString(text);
    config.setCurrentContext(context);
    return (filled) => config.applyToHTTPSOptions(filled);
  });
}

function execPlugin(cluster: Section, user: Section): Plugin {
  const settings = user.get('exec') as JsonObject;
  if (typeof settings.command !== 'string') throw user.error('exec', 'has no command');
  // A relative path with a folder in it is relative to the kubeconfig, a bare name is looked up in PATH.
  const command = settings.command.includes('/')
    ? path.resolve(path.dirname(user.file), settings.command)
    : settings.command;
  const info = {
    apiVersion: settings.apiVersion ?? 'client.authentication.k8s.io/v1',
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(settings.provideClusterInfo === true
        ? { cluster: { server: cluster.requiredText('server') } }
        : {}),
    },
  };
  const env = [
    ...(Array.isArray(settings.env) ? settings.env : []),
    { name: 'KUBERNETES_EXEC_INFO', value: JSON.stringify(info) },
  ];
  const args = Array.isArray(settings.args) ? settings.args.map(String) : [];
  const asUser = { name: 'user', exec: { ...settings, command, args, env } } as unknown as User;
  return plugin(user, async () => {
    const { ExecAuth } = await import('@kubernetes/client-node/dist/exec_auth.js');
    const auth = new ExecAuth();
    return (filled) => auth.applyAuthentication(asUser, filled);
  });
}

/** Simultaneous requests share one run of the plugin; what it gave is kept by client-node until it expires. */
function plugin(user: Section, load: () => Promise<(filled: Filled) => Promise<void>>): Plugin {
  let loaded: Promise<(filled: Filled) => Promise<void>> | undefined;
  let running: Promise<Identity> | undefined;
  const run = async (): Promise<Identity> => {
    const filled: Filled = { headers: {} };
    try {
      loaded ??= load();
      await (await loaded)(filled);
    } catch (error) {
      // A SyntaxError of JSON.parse quotes what the plugin printed, which may be the token.
      const secret = error instanceof SyntaxError || error instanceof TypeError;
      const reason = secret
        ? 'it printed no ExecCredential'
        : String(error instanceof Error ? error.message : error);
      throw user.error('exec', `the plugin for credentials failed: ${reason.trim().slice(0, 300)}`);
    }
    const { Authorization, ...headers } = filled.headers;
    return {
      tls: {
        ...(filled.cert === undefined ? {} : { cert: filled.cert }),
        ...(filled.key === undefined ? {} : { key: filled.key }),
      },
      headers: Authorization === undefined ? headers : { ...headers, authorization: Authorization },
    };
  };
  return {
    get() {
      running ??= run().finally(() => {
        running = undefined;
      });
      return running;
    },
    forget() {
      loaded = undefined;
    },
  };
}
