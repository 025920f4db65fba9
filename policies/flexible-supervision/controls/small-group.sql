-- id: small-group
-- title: Disclosures with groups smaller than the regulator wants
-- title-zh: 分组过小的统计公开
-- clause: flexible supervision rules, art. 14: what is disclosed lets nobody tell a single company
-- clause-zh: 柔性监管规则第十四条：公开的统计不得据以识别单个企业
-- severity: high
-- subject: disclosure_id
-- owner: owner
SELECT disclosure.disclosure_id AS disclosure_id,
       disclosure.owner AS owner,
       disclosure.approved_by AS approved_by,
       disclosure.subject AS subject,
       disclosure.groups AS groups,
       disclosure.smallest_group AS smallest_group,
       disclosure.published_at AS published_at
FROM flexible_supervision.disclosure AS disclosure
WHERE disclosure.state = 'published' AND disclosure.smallest_group < :least
ORDER BY disclosure.disclosure_id
