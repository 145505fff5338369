#!/usr/bin/env bash
# Makes what cluster.yaml names: a role for the head, one for its workers, and a group that says who may log in.
# Run it once, from the checkout, after EDIT 1: clusters/aws_profile.sh BUCKET [ADDRESS]
# ADDRESS may log in over SSH: yours, as Amazon sees it, or 203.0.113.0/24 for a network.  It never is all the world.
set -euo pipefail
bucket=${1:?usage: clusters/aws_profile.sh BUCKET [ADDRESS]}
address=${2:-$(curl --silent --show-error --fail https://checkip.amazonaws.com)}
case $address in */*) ;; *) address=$address/32 ;; esac
if [[ ! $address =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}/([89]|[12][0-9]|3[0-2])$ ]]; then
    echo "error: ADDRESS: invalid value '$address'; give an IPv4 address or a network of at most /8" >&2
    exit 2
fi
region=$(sed -n 's/^  region: \([a-z0-9-]*\).*/\1/p' cluster.yaml)
name=tune-fmnist

role() {  # NAME STATEMENTS: a role for machines, with these rights and those to the bucket
    local bucket_rights="
        {\"Effect\": \"Allow\", \"Action\": \"s3:ListBucket\", \"Resource\": \"arn:aws:s3:::$bucket\"},
        {\"Effect\": \"Allow\", \"Action\": [\"s3:GetObject\", \"s3:PutObject\", \"s3:DeleteObject\", \"s3:AbortMultipartUpload\"],
         \"Resource\": \"arn:aws:s3:::$bucket/*\"}"
    aws iam create-role --role-name "$1" --assume-role-policy-document \
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
    aws iam put-role-policy --role-name "$1" --policy-name search \
        --policy-document "{\"Version\": \"2012-10-17\", \"Statement\": [$2$bucket_rights]}"
    aws iam create-instance-profile --instance-profile-name "$1"
    aws iam add-role-to-instance-profile --instance-profile-name "$1" --role-name "$1"
}

# Workers: the bucket, and no more.
role "$name-worker" ""
worker=$(aws iam get-role --role-name "$name-worker" --query Role.Arn --output text)

# The head starts workers, and ends those machines that Ray has marked as its own.
ray='"Condition": {"StringLike": {"aws:ResourceTag/ray-cluster-name": "*"}}'
role "$name-head" "
        {\"Effect\": \"Allow\", \"Action\": [\"ec2:Describe*\", \"ec2:RunInstances\"], \"Resource\": \"*\"},
        {\"Effect\": \"Allow\", \"Action\": \"ec2:CreateTags\", \"Resource\": \"*\",
         \"Condition\": {\"StringEquals\": {\"ec2:CreateAction\": \"RunInstances\"}}},
        {\"Effect\": \"Allow\", \"Action\": [\"ec2:CreateTags\", \"ec2:TerminateInstances\"], \"Resource\": \"*\", $ray},
        {\"Effect\": \"Allow\", \"Action\": \"iam:PassRole\", \"Resource\": \"$worker\"},"
# An account that has never had a spot machine lacks the role that Amazon itself uses for them.
aws iam create-service-linked-role --aws-service-name spot.amazonaws.com || true

# Port 22 from the address, and every port among the machines themselves.
group=$(aws ec2 create-security-group --region "$region" --group-name "$name" --description "$name" \
    --query GroupId --output text)
aws ec2 authorize-security-group-ingress --region "$region" --group-id "$group" --protocol tcp --port 22 --cidr "$address"
aws ec2 authorize-security-group-ingress --region "$region" --group-id "$group" --protocol all --source-group "$group"
echo "EDIT 3 of cluster.yaml: $group, which lets $address log in"
