-- id: lot-without-certificate
-- title: Lots that were sent without a certificate
-- title-zh: 无质量证书而发运的批次
-- clause: joint production rules, art. 9: a lot travels with the inspector's certificate
-- clause-zh: 协同生产规则第九条：批次应随附检验机构出具的质量证书
-- severity: high
-- subject: lot_id
-- owner: owner
SELECT lot_id, share, owner, pieces, sent_at
FROM distributed_production.lot
WHERE certificate IS NULL
  AND sent_at IS NOT NULL
  AND :as_of_time - sent_at > :hours * 3600000
ORDER BY lot_id
