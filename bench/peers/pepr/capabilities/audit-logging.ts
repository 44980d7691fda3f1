/** The benchmark's mutation as a Pepr capability, written as its users write one. */
import { readFileSync } from 'node:fs';
import { a, Capability } from 'pepr';

type Container = a.Deployment['spec']['template']['spec']['containers'][number];
type VolumeMount = Container['volumeMounts'][number];
type Volume = a.Deployment['spec']['template']['spec']['volumes'][number];

/** What every server of the benchmark is to add; see bench/peers/mutation.ts. */
interface Mutation {
  annotations: Record<string, string>;
  container: string;
  flags: { name: string; value: string }[];
  volumes: Volume[];
  volumeMounts: VolumeMount[];
  sidecars: Container[];
}

/** `pepr build` loads the module as well, and has no file. */
const file = process.env.BENCH_MUTATION_FILE;
const mutation: Mutation | undefined = file && JSON.parse(readFileSync(file, 'utf8'));

export const AuditLogging = new Capability({
  name: 'audit-logging',
  description: 'Adds audit logging to the apiserver of a user cluster',
});

AuditLogging.When(a.Deployment)
  .IsCreatedOrUpdated()
  .InNamespaceRegex(/^cluster-/)
  .WithName('apiserver')
  .Mutate((request) => {
    for (const [key, value] of Object.entries(mutation.annotations)) request.SetAnnotation(key, value);
    const spec = request.Raw.spec.template.spec;
    const container = spec.containers.find(({ name }) => name === mutation.container);
    if (container === undefined) throw new Error(`there is no container ${mutation.container}`);
    container.args ??= [];
    for (const { name, value } of mutation.flags) {
      const at = container.args.indexOf(name);
      if (at >= 0) container.args[at + 1] = value;
      else container.args.push(name, value);
    }
    container.volumeMounts = ensure(container.volumeMounts, mutation.volumeMounts, 'mountPath');
    spec.volumes = ensure(spec.volumes, mutation.volumes, 'name');
    spec.containers = ensure(spec.containers, mutation.sidecars, 'name');
  });

/** Sets each wanted item in the place of the one with its key, or at the end. */
function ensure<T>(items: T[] | undefined, wanted: T[], key: keyof T): T[] {
  const result = [...(items ?? [])];
  for (const item of wanted) {
    const at = result.findIndex((other) => other[key] === item[key]);
    if (at >= 0) result[at] = item;
    else result.push(item);
  }
  return result;
}
