"""A foreign gRPC client: lists a coordinator's services by reflection, checks its health, and reads the progress of a job set.
It uses no generated code; all descriptors come from the server.

progress.py HOST:PORT [JOB_SET_ID]
"""

import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def call(channel, pool, service, method, **fields):
    """Makes a unary call with a request built from `fields`."""
    described = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_factory.GetMessageClass(described.input_type)(**fields)
    answer = message_factory.GetMessageClass(described.output_type)
    return channel.unary_unary(
        f"/{service}/{method}", request_serializer=lambda message: message.SerializeToString(), response_deserializer=answer.FromString
    )(request, timeout=10)


def main(address, job_set_id=None):
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        services = sorted(database.get_services())
        pool = descriptor_pool.DescriptorPool(database)
        print("services:", *services, sep="\n  ")
        for expected in ("fivefold.v1.JobSetService", "fivefold.v1.DataSetService", "fivefold.v1.WorkerService", "fivefold.v1.ArtifactService", "grpc.health.v1.Health"):
            assert expected in services, f"{expected} is not listed"
        health = call(channel, pool, "grpc.health.v1.Health", "Check")
        print("health:", json_format.MessageToDict(health))
        sets = call(channel, pool, "fivefold.v1.JobSetService", "ListJobSets", page_size=5).job_sets
        print("job sets:", [job_set.id for job_set in sets])
        if job_set_id is None and sets:
            job_set_id = sets[0].id
        if job_set_id is not None:
            job_set = call(channel, pool, "fivefold.v1.JobSetService", "GetJobSet", job_set_id=job_set_id).job_set
            assert job_set.id == job_set_id and job_set.jobs, "the response has no jobs"
            for job in job_set.jobs:
                print(json_format.MessageToDict(job))


if __name__ == "__main__":
    main(*sys.argv[1:])
