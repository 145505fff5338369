#!/usr/bin/env bash
# Makes the instance profile `tune-fmnist`, which cluster.yaml names; run it once: clusters/aws_profile.sh BUCKET
set -euo pipefail
bucket=${1:?usage: clusters/aws_profile.sh BUCKET}
name=tune-fmnist
aws iam create-role --role-name "$name" --assume-role-policy-document \
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
role=$(aws iam get-role --role-name "$name" --query Role.Arn --output text)
aws iam attach-role-policy --role-name "$name" --policy-arn arn:aws:iam::aws:policy/AmazonEC2FullAccess
aws iam put-role-policy --role-name "$name" --policy-name search --policy-document "{
    \"Version\": \"2012-10-17\",
    \"Statement\": [
        {\"Effect\": \"Allow\", \"Action\": \"iam:PassRole\", \"Resource\": \"$role\"},
        {\"Effect\": \"Allow\", \"Action\": \"iam:GetInstanceProfile\", \"Resource\": \"*\"},
        {\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": [\"arn:aws:s3:::$bucket\", \"arn:aws:s3:::$bucket/*\"]}
    ]
}"
aws iam create-instance-profile --instance-profile-name "$name"
aws iam add-role-to-instance-profile --instance-profile-name "$name" --role-name "$name"
