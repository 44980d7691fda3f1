/**
 * Options that fluent-bit's outputs and filters have, by plugin: with any other one fluent-bit ends at its start (config maps of 4.0.0, the
 * version that KKP runs; what all plugins of a kind take stands apart). Pure.
 */
import { type Reason, reason } from '../reasons.ts';
import { FluentBitSyntaxError, parseFluentBit, type Section } from './fluentbit.ts';
import { hasVariable, pluginOf } from './fluentbit-values.ts';

/** Words of which each that ends with a colon names a plugin, and those behind it its options; `*` at the end stands for any text. */
function readTable(text: string): Map<string, string[]> {
  const table = new Map<string, string[]>();
  let options: string[] = [];
  for (const word of text.trim().split(/\s+/)) {
    if (!word.endsWith(':')) options.push(word);
    else {
      options = [];
      table.set(word.slice(0, -1), options);
    }
  }
  return table;
}

const OUTPUTS = readTable(`
  azure: customer_id log_type log_type_key shared_key time_generated time_key
  azure_blob: account_name auth_type auto_create_container blob_type compress compress_blob
    configuration_endpoint_bearer_token configuration_endpoint_password configuration_endpoint_url
    configuration_endpoint_username container_name database_file date_key emulator_mode endpoint
    file_delivery_attempt_limit part_delivery_attempt_limit part_size path sas_token shared_key
    upload_part_freshness_limit upload_parts_timeout
  azure_kusto: client_id client_secret compression_enabled database_name include_tag_key
    include_time_key ingestion_endpoint ingestion_endpoint_connect_timeout ingestion_mapping_reference
    ingestion_resources_refresh_interval log_key managed_identity_client_id table_name tag_key tenant_id
    time_key
  azure_logs_ingestion: client_id client_secret compress dce_url dcr_id table_name tenant_id
    time_generated time_key
  bigquery: aws_region dataset_id enable_identity_federation google_service_account
    google_service_credentials ignore_unknown_values pool_id project_id project_number provider_id
    service_account_email service_account_secret skip_invalid_rows table_id
  calyptia: add_label api_key cloud_host cloud_port fleet_id machine_id pipeline_id
    register_retry_on_flush store_path
  chronicle: customer_id google_service_credentials log_key log_type project_id region
    service_account_email service_account_secret
  cloudwatch_logs: auto_create_group auto_retry_requests endpoint external_id extra_user_agent
    log_format log_group_class log_group_name log_group_template log_key log_retention_days
    log_stream_name log_stream_prefix log_stream_template metric_dimensions metric_namespace profile
    region role_arn sts_endpoint
  counter:
  datadog: apikey compress dd_hostname dd_message_key dd_service dd_source dd_tags header
    include_tag_key json_date_key provider proxy tag_key
  es: aws_auth aws_external_id aws_profile aws_region aws_role_arn aws_service_name aws_sts_endpoint
    buffer_size cloud_auth cloud_id compress current_time_index generate_id http_passwd http_user id_key
    include_tag_key index logstash_dateformat logstash_format logstash_prefix logstash_prefix_key
    logstash_prefix_separator path pipeline replace_dots suppress_type_name tag_key time_key
    time_key_format time_key_nanos trace_error trace_output type write_operation
  exit: flush_count record_count time_count
  file: csv_column_names delimiter file format label_delimiter mkdir path template
  flowcounter: event_based unit
  forward: add_option compress empty_shared_key fluentd_compat password require_ack_response
    retain_metadata_in_forward_mode self_hostname send_options shared_key tag time_as_integer unix_path
    upstream username
  gelf: compress gelf_full_message_key gelf_host_key gelf_level_key gelf_short_message_key gelf_tag_key
    gelf_timestamp_key mode packet_size
  http: allow_duplicated_headers aws_auth aws_external_id aws_profile aws_region aws_role_arn
    aws_sts_endpoint aws_service body_key compress format gelf_full_message_key gelf_host_key
    gelf_level_key gelf_short_message_key gelf_timestamp_key header header_tag headers_key http_passwd
    http_user json_date_format json_date_key log_response_payload proxy uri
  influxdb: add_integer_suffix auto_tags bucket database http_header http_passwd http_token http_user
    org sequence_tag tag_keys uri
  kafka: brokers client_id dynamic_topic format gelf_full_message_key gelf_host_key gelf_level_key
    gelf_short_message_key gelf_timestamp_key group_id message_key message_key_field queue_full_retries
    raw_log_key rdkafka.* schema_id schema_str timestamp_format timestamp_key topic_key topics
  kafka-rest: avro_http_header include_tag_key message_key partition tag_key time_key time_key_format
    topic url_path
  kinesis_firehose: auto_retry_requests compression delivery_stream endpoint external_id log_key profile
    region role_arn sts_endpoint time_key time_key_format
  kinesis_streams: auto_retry_requests endpoint external_id log_key profile region role_arn stream
    sts_endpoint time_key time_key_format
  lib: data_mode format max_records
  logdna: api_key app file hostname ip logdna_endpoint logdna_host logdna_port mac tags
  loki: auto_kubernetes_labels bearer_token buffer_size compress drop_single_key header http_passwd
    http_user label_keys label_map_path labels line_format remove_keys structured_metadata
    structured_metadata_map_keys tenant_id tenant_id_key uri
  nats:
  nrlogs: api_key base_uri compress license_key
  null: format json_date_format json_date_key
  opensearch: aws_auth aws_external_id aws_profile aws_region aws_role_arn aws_service_name
    aws_sts_endpoint buffer_size compress current_time_index generate_id http_passwd http_user id_key
    include_tag_key index logstash_dateformat logstash_format logstash_prefix logstash_prefix_key
    logstash_prefix_separator path pipeline replace_dots suppress_type_name tag_key time_key
    time_key_format time_key_nanos trace_error trace_output type write_operation
  opentelemetry: add_label batch_size compress grpc grpc_logs_uri grpc_metrics_uri grpc_profiles_uri
    grpc_traces_uri header http2 http_passwd http_user log_response_payload logs_attributes_metadata_key
    logs_body_key logs_body_key_attributes logs_instrumentation_scope_metadata_key logs_metadata_key
    logs_observed_timestamp_metadata_key logs_resource_metadata_key logs_severity_number_message_key
    logs_severity_number_metadata_key logs_severity_text_message_key logs_severity_text_metadata_key
    logs_span_id_message_key logs_span_id_metadata_key logs_timestamp_metadata_key
    logs_trace_flags_metadata_key logs_trace_id_message_key logs_trace_id_metadata_key logs_uri
    metrics_uri profiles_uri proxy traces_uri
  oracle_log_analytics: config_file_location namespace oci_config_in_record oci_la_entity_id
    oci_la_entity_type oci_la_global_metadata oci_la_log_group_id oci_la_log_path oci_la_log_set_id
    oci_la_log_source_name oci_la_metadata profile_name proxy uri
  pgsql: *
  plot: file key
  prometheus_exporter: add_label add_timestamp
  prometheus_remote_write: add_label aws_auth aws_external_id aws_profile aws_region aws_role_arn
    aws_sts_endpoint aws_service compression header http_passwd http_user log_response_payload proxy uri
  retry: retry
  s3: auto_retry_requests bucket canned_acl compression content_type endpoint external_id
    json_date_format json_date_key log_key preserve_data_ordering profile region role_arn s3_key_format
    s3_key_format_tag_delimiters send_content_md5 static_file_path storage_class store_dir
    store_dir_limit_size sts_endpoint total_file_size upload_chunk_size upload_timeout use_put_object
  skywalking: auth_token svc_inst_name svc_name
  slack: webhook
  splunk: channel compress event_field event_host event_index event_index_key event_key event_source
    event_sourcetype event_sourcetype_key http_buffer_size http_debug_bad_request http_passwd http_user
    splunk_send_raw splunk_token
  stackdriver: autoformat_stackdriver_trace cloud_logging_base_url compress custom_k8s_regex
    export_to_project_id google_service_credentials http_request_key job k8s_cluster_location
    k8s_cluster_name labels labels_key location log_name_key metadata_server namespace node_id
    project_id_key resource resource_labels service_account_email service_account_secret severity_key
    span_id_key stackdriver_agent tag_prefix task_id test_log_entry_format text_payload_key trace_key
    trace_sampled_key
  stdout: format json_date_format json_date_key
  syslog: allow_longer_sd_id mode syslog_appname_key syslog_appname_preset syslog_facility_key
    syslog_facility_preset syslog_format syslog_hostname_key syslog_hostname_preset syslog_maxsize
    syslog_message_key syslog_msgid_key syslog_msgid_preset syslog_procid_key syslog_procid_preset
    syslog_sd_key syslog_severity_key syslog_severity_preset
  tcp: format json_date_format json_date_key raw_message_key
  td: api database region table
  udp: format json_date_format json_date_key raw_message_key
  vivo_exporter: empty_stream_on_read http_cors_allow_origin stream_queue_size
  websocket: format header json_date_format json_date_key uri
`);

const FILTERS = readTable(`
  alter_size: add remove
  aws: account_id ami_id az ec2_instance_id ec2_instance_type hostname imds_version private_ip
    retry_interval_s tags_enabled tags_exclude tags_include vpc_id
  checklist: file ignore_case lookup_key mode print_query_time record
  ecs: add agent_endpoint_retries cluster_metadata_only ecs_meta_cache_ttl ecs_meta_host ecs_meta_port
    ecs_tag_prefix
  expect: action key_exists key_not_exists key_val_eq key_val_is_not_null key_val_is_null result_key
  geoip2: database lookup_key record
  grep: exclude logical_op regex
  kubernetes: annotations buffer_size cache_use_docker_id dns_retries dns_wait_time dummy_meta
    k8s-logging.exclude k8s-logging.parser keep_log kube_ca_file kube_ca_path kube_meta_cache_ttl
    kube_meta_namespace_cache_ttl kube_meta_preload_cache_dir kube_tag_prefix kube_token_command
    kube_token_file kube_token_ttl kube_url kubelet_host kubelet_port labels merge_log merge_log_key
    merge_log_trim merge_parser namespace_annotations namespace_labels namespace_metadata_only
    owner_references regex_parser tls.debug tls.verify tls.verify_hostname tls.vhost use_journal
    use_kubelet use_tag_for_meta
  log_to_metrics: add_label bucket discard_logs emitter_mem_buf_limit emitter_name exclude
    flush_interval_nsec flush_interval_sec kubernetes_mode label_field metric_description metric_mode
    metric_name metric_namespace metric_subsystem regex tag value_field
  lua: call code enable_flb_null protected_mode script time_as_table type_array_key type_int_key
  modify: add condition copy hard_copy hard_rename move_to_end move_to_start remove remove_regex
    remove_wildcard rename set
  multiline: buffer debug_flush emitter_mem_buf_limit emitter_name emitter_storage.type flush_ms mode
    multiline.key_content multiline.parser
  nest: add_prefix nest_under nested_under operation remove_prefix wildcard
  nightfall: nightfall_api_key policy_id sampling_rate tls.ca_path tls.debug tls.verify tls.vhost
  parser: key_name parser preserve_key reserve_data unescape_key
  record_modifier: allowlist_key record remove_key uuid_key whitelist_key
  rewrite_tag: emitter_mem_buf_limit emitter_name emitter_storage.type rule
  stdout:
  sysinfo: fluentbit_version_key hostname_key kernel_version_key os_name_key os_version_key
  tensorflow: include_input_fields input_field model_file normalization_value
  throttle: interval print_status rate window
  throttle_size: *
  type_converter: float_key int_key str_key uint_key
  wasm: accessible_paths event_format function_name wasm_heap_size wasm_path wasm_stack_size
`);

const COMMON = [
  'name',
  'match',
  'match_regex',
  'alias',
  'log_level',
  'log_suppress_interval',
  'active',
  'condition',
];
const KINDS: Readonly<
  Record<
    string,
    { readonly kind: string; readonly plugins: Map<string, string[]>; readonly common: string[] }
  >
> = {
  FILTER: { kind: 'filter', plugins: FILTERS, common: COMMON },
  OUTPUT: {
    kind: 'output',
    plugins: OUTPUTS,
    common: [
      ...COMMON,
      ...[
        'host',
        'port',
        'ipv6',
        'retry_limit',
        'workers',
        'storage.total_limit_size',
        'net.*',
        '_debug.http.*',
      ],
      ...['tls', 'tls.verify', 'tls.verify_hostname', 'tls.debug', 'tls.vhost', 'tls.ca_path', 'tls.ca_file'],
      ...[
        'tls.crt_file',
        'tls.key_file',
        'tls.key_passwd',
        'tls.min_version',
        'tls.max_version',
        'tls.ciphers',
      ],
    ],
  },
};

/**
 * Finds what fluent-bit would not start with. Nothing of the text but places and names of plugins gets into a note.
 * @param where for messages, such as `fluent-bit.conf`
 */
export function findUnknownOptions(text: string, where: string): Reason[] {
  let sections: Section[];
  try {
    sections = parseFluentBit(text);
  } catch (error) {
    if (!(error instanceof FluentBitSyntaxError)) throw error;
    return [];
  }
  const found: Reason[] = [];
  const counts = new Map<string, number>();
  for (const section of sections) {
    const row = Object.hasOwn(KINDS, section.name) ? KINDS[section.name] : undefined;
    if (row === undefined) continue;
    const index = (counts.get(row.kind) ?? 0) + 1;
    counts.set(row.kind, index);
    const plugin = pluginOf(section);
    if (hasVariable(plugin)) continue;
    const options = row.plugins.get(plugin);
    const known = [...row.common, ...(options ?? [])];
    const takes = (name: string): boolean =>
      known.some((option) => (option.endsWith('*') ? name.startsWith(option.slice(0, -1)) : name === option));
    const problem =
      options === undefined
        ? `there is no such ${row.kind}`
        : section.entries.some(([name]) => !takes(name.toLowerCase()))
          ? `${plugin} has no such option`
          : undefined;
    if (problem !== undefined)
      found.push(reason('FLUENTBIT_WOULD_NOT_START', { where: `${where}, ${row.kind} ${index}`, problem }));
  }
  return found;
}
