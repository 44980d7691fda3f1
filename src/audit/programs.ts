/** Which file a container starts, found as kubelet and the container runtime find it. Pure. */
import type { Container } from '../kubernetes.ts';
import { expandArguments, isKnown } from './command-line.ts';
import { cleanPath } from './mounts.ts';

/** Where their own images have them. */
export const APISERVER_PROGRAM = '/usr/local/bin/kube-apiserver';
export const SIDECAR_PROGRAM = '/fluent-bit/bin/fluent-bit';

export type Program =
  /** The file is one of these; of several, the first that the image or a volume has. */
  { readonly paths: readonly string[] } | { readonly problem: string };

/** Where a runtime looks for a program without a slash: the PATH of Kubernetes' and fluent-bit's images. */
const SEARCH_DIRECTORIES = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** No image has programs there, but links into its other directories. */
const UNREAL = /^\/(proc|sys|dev|run|var\/run)(\/|$)/;

/**
 * Finds the file of a container's program.
 * @param usual where the image has it, which counts where `command` gives no path
 */
export function findProgram(container: Container, usual: string): Program {
  const [given] = container.command ?? [];
  const program = given?.includes('$') ? expandArguments(container)[0] : given;
  if (program !== undefined && !isKnown(program))
    return { problem: `${given}, which depends on a variable from outside the object` };
  if (program?.startsWith('/')) {
    const path = cleanPath(program);
    return UNREAL.test(path) ? { problem: `${path}, which may be any file` } : { paths: [path] };
  }
  const name = program ?? usual.slice(usual.lastIndexOf('/') + 1);
  if (name.includes('/')) return { problem: `${name}, which depends on the directory it is started in` };
  if (container.env?.some((variable) => variable.name === 'PATH') || (container.envFrom?.length ?? 0) > 0)
    return { problem: `${name}, which is looked for in a PATH of the container's own` };
  return { paths: [usual, ...SEARCH_DIRECTORIES.map((directory) => `${directory}/${name}`)] };
}

/** In images of the last ten years these directories are links to those below /usr, and /var/run is one to /run; a mount follows a link. */
const LINKED = /^\/(?:bin|sbin|lib(?:32|64|x32)?|var\/run)(?=\/|$)/;

/**
 * A path as the links that nearly every image has resolve it, so that two spellings of one file can be compared.
 * @param path clean
 */
export const followLinks = (path: string): string =>
  !LINKED.test(path) ? path : path.startsWith('/var') ? path.slice('/var'.length) : `/usr${path}`;
