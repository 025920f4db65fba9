-- id: open-dispute
-- title: Disputed meterings that nobody settles
-- title-zh: 久拖未决的用量异议
-- clause: model sharing rules, art. 8: a disputed count is settled within the time limit
-- clause-zh: 模型共享规则第八条：用量异议应在期限内处理
-- severity: low
-- subject: metering_id
-- owner: recorded_by
SELECT metering.metering_id AS metering_id,
       metering.licence AS licence,
       metering.recorded_by AS recorded_by,
       metering.owner AS licensee,
       metering.amount AS amount,
       metering.objection AS objection,
       metering.recorded_at AS recorded_at
FROM model_sharing.metering AS metering
WHERE metering.state = 'disputed'
  AND :as_of_time - metering.recorded_at > :days * 86400000
ORDER BY metering.metering_id
